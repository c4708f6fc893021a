//go:build unix

package demo

import (
	"bufio"
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gorilla/websocket"
)

// TestCommand runs `caddy websocket-auth demo` until Ctrl-C: it has to say
// goodbye to its sockets, and to leave nothing behind.
func TestCommand(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "websocket-auth", "demo", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), commandVariable+"=1",
		"HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, "TMPDIR="+home)
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// If a check below ends the test, the context ends the process.
	socket := dialPrinted(t, bufio.NewScanner(stdout))
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := closeCode(t, socket); code != websocket.CloseGoingAway {
		t.Errorf("close code = %d, want %d", code, websocket.CloseGoingAway)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, &log)
	}
	err = filepath.WalkDir(home, func(path string, entry fs.DirEntry, err error) error {
		if path != home {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dialPrinted opens a socket to the demonstration that says on its standard
// output where it is.
func dialPrinted(t *testing.T, lines *bufio.Scanner) *websocket.Conn {
	t.Helper()
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "# Open "); ok {
			address, _, _ := strings.Cut(rest, " ")
			d := testDemo{page: address, path: chatPath, t: t, client: &http.Client{Timeout: testTimeout}, issued: new(tokens)}
			return d.dial(testCarriers["bearer"], d.take("alice", 60))
		}
	}
	t.Fatalf("the address is not printed: %v", lines.Err())
	return nil
}
