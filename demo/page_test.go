package demo

import (
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPageHeaders(t *testing.T) {
	t.Parallel()
	handler, err := pageHandler([]string{"ws://localhost:8080"})
	if err != nil {
		t.Fatal(err)
	}
	for path, contentType := range map[string]string{
		"/":            "text/html",
		"/style.css":   "text/css",
		"/page.js":     "text/javascript",
		"/held.js":     "text/javascript",
		"/carriers.js": "text/javascript",
	} {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		res := w.Result()
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), contentType) {
			t.Errorf("GET %s: %s, %s, want 200 and %s", path, res.Status, res.Header.Get("Content-Type"), contentType)
		}
		policy := res.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "connect-src 'self' ws://localhost:8080;", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("GET %s: policy %q lacks %q", path, policy, want)
			}
		}
		if body, _ := io.ReadAll(res.Body); len(body) == 0 {
			t.Errorf("GET %s: empty", path)
		}
	}
}

// TestPageKeepsToItself: the page loads nothing from elsewhere, and nothing
// that the policy forbids.
func TestPageKeepsToItself(t *testing.T) {
	t.Parallel()
	forbidden := map[string]*regexp.Regexp{
		"an address":      regexp.MustCompile(`https?://[^$]|url\(|@import`),
		"an inline style": regexp.MustCompile(`<style|\sstyle=`),
		"inline script":   regexp.MustCompile(`<script(>| [^>]*>[^<])|\son[a-z]+="`),
		"unsafe markup":   regexp.MustCompile(`innerHTML|insertAdjacentHTML|document\.write|eval\(`),
	}
	err := fs.WalkDir(pageFiles, "page", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(pageFiles, path)
		for what, pattern := range forbidden {
			if found := pattern.Find(text); found != nil {
				t.Errorf("%s has %s: %q", path, what, found)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
