package websocketauth_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-websocket-auth/caddy-websocket-auth"
)

// pages are the documents for users.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("docs/*.md")
	if err != nil || len(found) == 0 {
		t.Fatalf("docs/*.md: %v, %v", found, err)
	}
	return append(found, "README.md", "xcaddy.md")
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// blocks returns the fenced blocks of a language in a page.
func blocks(text, language string) []string {
	var found []string
	for _, match := range fence.FindAllStringSubmatch(text, -1) {
		if match[1] == language {
			found = append(found, match[2])
		}
	}
	return found
}

// Every Caddyfile that users may copy is one that Caddy takes.
func TestCaddyfilesInDocs(t *testing.T) {
	t.Setenv("REDIS_URL", "redis://localhost")
	n := 0
	for _, page := range pages(t) {
		for i, text := range blocks(read(t, page), "caddyfile") {
			n++
			t.Run(fmt.Sprintf("%s %d", page, i+1), func(t *testing.T) {
				validate(t, text)
			})
		}
	}
	if n < 8 {
		t.Errorf("%d Caddyfiles found, too few", n)
	}
}

func validate(t *testing.T, caddyfile string) {
	t.Helper()
	// Paths of servers become paths of the test's own.
	caddyfile = strings.ReplaceAll(caddyfile, "/var/log/caddy/", t.TempDir()+"/")
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range warnings {
		if !strings.Contains(warning.Message, "not formatted") {
			t.Errorf("warning: %s", warning.Message)
		}
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	config.Admin = &caddy.AdminConfig{Disabled: true}
	config.StorageRaw = json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir()))
	if err := caddy.Validate(&config); err != nil {
		t.Error(err)
	}
}

// The JSON of the handler and of the app in docs/json.md is one that Caddy
// takes.
func TestJSONInDocs(t *testing.T) {
	found := blocks(read(t, "docs/json.md"), "json")
	if len(found) != 2 {
		t.Fatalf("%d JSON blocks, want 2", len(found))
	}
	t.Setenv("REDIS_URL", "redis://localhost")
	var config caddy.Config
	if err := caddy.StrictUnmarshalJSON([]byte(found[1]), &config); err != nil {
		t.Fatal(err)
	}
	config.Admin = &caddy.AdminConfig{Disabled: true}
	config.StorageRaw = json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir()))
	config.AppsRaw["http"] = json.RawMessage(
		`{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[{"handle":[` + found[0] + `]}]}}}`)
	if err := caddy.Validate(&config); err != nil {
		t.Error(err)
	}
}

// What the pages say of the syntax is what the parsers say.
func TestSyntaxInDocs(t *testing.T) {
	for file, page := range map[string]string{
		"caddyfile.go":              "README.md",
		"app_caddyfile.go":          "README.md",
		"verifier_jwt_caddyfile.go": "README.md",
		"stores.go":                 "docs/fleet.md",
		"redisstore/caddyfile.go":   "docs/fleet.md",
	} {
		syntax := syntaxOf(t, file)
		if !slices.ContainsFunc(blocks(read(t, page), ""), func(block string) bool { return strings.TrimSpace(block) == syntax }) {
			t.Errorf("%s lacks the syntax in %s:\n%s", page, file, syntax)
		}
	}
}

// What docs/dialects.md says of the syntax is what the parsers say.
func TestSyntaxOfDialects(t *testing.T) {
	files, err := filepath.Glob("dialect_*.go")
	if err != nil {
		t.Fatal(err)
	}
	page := blocks(read(t, "docs/dialects.md"), "")
	n := 0
	for _, file := range files {
		if !strings.Contains(read(t, file), "UnmarshalCaddyfile sets up") {
			continue
		}
		n++
		syntax := syntaxOf(t, file)
		if !slices.ContainsFunc(page, func(block string) bool { return strings.TrimSpace(block) == syntax }) {
			t.Errorf("docs/dialects.md lacks the syntax in %s:\n%s", file, syntax)
		}
	}
	if n != 11 {
		t.Errorf("%d dialects found, want 11", n)
	}
}

// syntaxOf returns the first code block in the doc of UnmarshalCaddyfile.
func syntaxOf(t *testing.T, file string) string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range parsed.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Name.Name != "UnmarshalCaddyfile" {
			continue
		}
		for _, block := range new(comment.Parser).Parse(f.Doc.Text()).Content {
			if code, ok := block.(*comment.Code); ok {
				return strings.TrimSpace(code.Text)
			}
		}
	}
	t.Fatalf("no syntax in %s", file)
	return ""
}

// Links between the pages lead somewhere.
func TestLinksInDocs(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range append(pages(t), "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md") {
		for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
			target := filepath.Join(filepath.Dir(page), match[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, match[1], err)
			}
		}
	}
}

// Caddy's website makes the docs of the JSON from the comments above fields.
func TestConfigFieldsAreDocumented(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range append(files, "redisstore/module.go") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range configFields(parsed) {
			n++
			if field.Doc == nil {
				t.Errorf("%s: field %s has no comment above it", file, field.Names[0].Name)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d fields found, too few", n)
	}
}

// configFields returns the fields with a JSON name of all exported structs.
func configFields(file *ast.File) []*ast.Field {
	var found []*ast.Field
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.TypeSpec)
		if !ok || !spec.Name.IsExported() {
			return true
		}
		if fields, ok := spec.Type.(*ast.StructType); ok {
			for _, field := range fields.Fields.List {
				if field.Tag != nil && strings.Contains(field.Tag.Value, "json:") {
					found = append(found, field)
				}
			}
		}
		return false
	})
	return found
}
