package rig

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// Caddy is a running Caddy.
//
// Its Caddyfile names its addresses by environment variables, which are free
// ports of the loopback device: {$SITE}, {$SITE2} and {$SITE3} for
// http://{$SITE}, and {$TLS} for https://{$TLS} { tls {$CERT} {$KEY} }, which is
// localhost and serves HTTP/1.1, HTTP/2 and HTTP/3. Further ones come with
// [WithEnv].
type Caddy struct {
	Addr, Addr2, Addr3 string // 127.0.0.1:port, of {$SITE}, {$SITE2}, {$SITE3}
	TLSAddr            string // localhost:port, of {$TLS}
	TLSConfig          *tls.Config
	Home               string // where it may write
	AdminAddr          string // 127.0.0.1:port
	Env                map[string]string

	Logs *LogBuffer
	Cmd  *exec.Cmd
	Done chan struct{} // closed when the process has ended; err is set then
	err  error
}

// StartOption changes how Caddy is started.
type StartOption func(*startOptions)

type startOptions struct {
	env    map[string]string
	binary string // instead of that of cmd/caddy
}

// WithEnv sets an environment variable of Caddy.
func WithEnv(name, value string) StartOption {
	return func(o *startOptions) { o.env[name] = value }
}

// WithBinary runs another program than that of cmd/caddy.
func WithBinary(path string) StartOption {
	return func(o *startOptions) { o.binary = path }
}

// StartCaddy runs Caddy with a Caddyfile and waits until it serves. It ends it
// when the test ends, and fails the test if Caddy had a data race or a panic.
func StartCaddy(t testing.TB, caddyfile string, options ...StartOption) *Caddy {
	t.Helper()
	p, err := Launch(t.TempDir(), caddyfile, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			pace.Real(t).Errorf("caddy: %v", err)
		}
		if t.Failed() {
			t.Logf("log of caddy:\n%s", lastBytes(p.Logs.String(), 12<<10))
		}
	})
	return p
}

// Launch is StartCaddy for a Caddy that outlives a test.
func Launch(home, caddyfile string, options ...StartOption) (*Caddy, error) {
	o := startOptions{env: make(map[string]string), binary: caddyBinary}
	for _, option := range options {
		option(&o)
	}
	p := &Caddy{
		Home: home, Logs: newLogBuffer(), Done: make(chan struct{}),
		TLSConfig: OwnTLS().client(),
	}
	env, err := p.environment(o)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(home, "Caddyfile")
	if err := os.WriteFile(file, []byte(withGlobals(caddyfile)), 0o600); err != nil {
		return nil, err
	}
	p.Cmd = exec.Command(o.binary, "run", "--adapter", "caddyfile", "--config", file)
	p.Cmd.Env, p.Cmd.Dir = env, home
	p.Cmd.Stdout, p.Cmd.Stderr = p.Logs, p.Logs
	if err := p.Cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.Cmd.Wait()
		close(p.Done)
	}()
	if err := p.awaitLog(`"serving initial configuration"`); err != nil {
		_ = p.Cmd.Process.Kill()
		<-p.Done
		return nil, fmt.Errorf("caddy does not start: %w\n%s", err, p.Logs.String())
	}
	return p, nil
}

// environment returns the whole environment of the process: nothing of the
// developer's gets in, and nothing is written to their home.
func (p *Caddy) environment(o startOptions) ([]string, error) {
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	loopback := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	p.Addr, p.Addr2, p.Addr3, p.AdminAddr = loopback(0), loopback(1), loopback(2), loopback(3)
	p.TLSAddr = fmt.Sprintf("localhost:%d", ports[4])
	cert, key, err := OwnTLS().write(p.Home)
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": p.Home, "TMPDIR": p.Home,
		"XDG_DATA_HOME": filepath.Join(p.Home, "data"), "XDG_CONFIG_HOME": filepath.Join(p.Home, "config"),
		"SITE": p.Addr, "SITE2": p.Addr2, "SITE3": p.Addr3, "TLS": p.TLSAddr, "ADMIN": p.AdminAddr,
		"CERT": cert, "KEY": key,
	}
	maps.Copy(env, o.env)
	p.Env = env
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list, nil
}

// loginByMessage finds sources whose credentials come in messages.
var loginByMessage = regexp.MustCompile(`(?m)^([ \t]*from (?:first|every)_message)(?:[ \t]*\{\n([^{}]*)\})?[ \t]*$`)

// patient gives logins by messages all the time there may be, where a Caddyfile
// does not say how much: a busy machine may need more than the default.
func patient(caddyfile string) string {
	return loginByMessage.ReplaceAllStringFunc(caddyfile, func(source string) string {
		parts := loginByMessage.FindStringSubmatch(source)
		if strings.Contains(parts[2], "within ") {
			return source
		}
		return parts[1] + " {\nwithin 1m\n" + parts[2] + "}"
	})
}

// withGlobals adds to a Caddyfile what every test needs.
func withGlobals(caddyfile string) string {
	const ours = "\tadmin {$ADMIN}\n\tpersist_config off\n\tauto_https off\n\tskip_install_trust\n"
	caddyfile = patient(strings.TrimLeft(caddyfile, " \t\n"))
	if rest, ok := strings.CutPrefix(caddyfile, "{\n"); ok {
		return "{\n" + ours + rest
	}
	return "{\n" + ours + "\tdebug\n}\n" + caddyfile
}

// Terminate asks Caddy to stop, as a service manager does, and does not wait.
func (p *Caddy) Terminate() error { return p.Cmd.Process.Signal(syscall.SIGTERM) }

// Stop ends Caddy and returns what was wrong with its life. It may be called
// again.
func (p *Caddy) Stop() error {
	_ = p.Terminate()
	var err error
	select {
	case <-p.Done:
	case <-time.After(Patience):
		_ = p.Cmd.Process.Kill()
		<-p.Done
		err = errors.New("did not stop when asked to")
	}
	log := p.Logs.String()
	for _, sign := range []string{"WARNING: DATA RACE", "fatal error: ", "panic: ", "panic serving", "panic while"} {
		if i := strings.Index(log, sign); i >= 0 {
			err = errors.Join(err, fmt.Errorf("in its log: %s", log[max(0, i-200):min(len(log), i+6000)]))
			break
		}
	}
	return err
}

// awaitLog waits until the log holds text.
func (p *Caddy) awaitLog(text string) error {
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	for {
		log, changed := p.Logs.state()
		if strings.Contains(log, text) {
			return nil
		}
		select {
		case <-changed:
		case <-p.Done:
			if strings.Contains(p.Logs.String(), text) {
				return nil
			}
			return fmt.Errorf("caddy has ended: %w", p.err)
		case <-timer.C:
			return fmt.Errorf("%q is not in the log", text)
		}
	}
}

// WaitLog is awaitLog for a test.
func (p *Caddy) WaitLog(t testing.TB, text string) {
	t.Helper()
	if err := p.awaitLog(text); err != nil {
		t.Fatal(err)
	}
}

// lastBytes returns the end of s, at most n bytes.
func lastBytes(s string, n int) string { return s[max(0, len(s)-n):] }

// RunCaddy runs a command of Caddy to its end and returns what it has printed
// and whether it has succeeded.
func RunCaddy(t testing.TB, stdin string, args ...string) (output string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*Patience)
	defer cancel()
	home := t.TempDir()
	cmd := exec.CommandContext(ctx, caddyBinary, args...)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home}
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		t.Fatalf("caddy %s: %v", args[0], err)
	}
	if strings.Contains(out.String(), "DATA RACE") {
		t.Errorf("caddy %s: %s", args[0], out.String())
	}
	return out.String(), err == nil
}
