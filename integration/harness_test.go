package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// caddyProc is a running Caddy.
//
// Its Caddyfile names its addresses by environment variables, which are free
// ports of the loopback device: {$SITE}, {$SITE2} and {$SITE3} for
// http://{$SITE}, and {$TLS} for https://{$TLS} { tls {$CERT} {$KEY} }, which is
// localhost and serves HTTP/1.1, HTTP/2 and HTTP/3. Further ones come with
// [withEnv].
type caddyProc struct {
	site, site2, site3 string // 127.0.0.1:port, of {$SITE}, {$SITE2}, {$SITE3}
	tls                string // localhost:port, of {$TLS}
	tlsConfig          *tls.Config
	home               string // where it may write
	adminAddr          string // 127.0.0.1:port
	env                map[string]string

	logs *logBuffer
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended; err is set then
	err  error
}

// startOption changes how Caddy is started.
type startOption func(*startOptions)

type startOptions struct {
	env    map[string]string
	binary string // instead of that of cmd/caddy
}

// withEnv sets an environment variable of Caddy.
func withEnv(name, value string) startOption {
	return func(o *startOptions) { o.env[name] = value }
}

// withBinary runs another program than that of cmd/caddy.
func withBinary(path string) startOption {
	return func(o *startOptions) { o.binary = path }
}

// startCaddy runs Caddy with a Caddyfile and waits until it serves. It ends it
// when the test ends, and fails the test if Caddy had a data race or a panic.
func startCaddy(t testing.TB, caddyfile string, options ...startOption) *caddyProc {
	t.Helper()
	p, err := launch(t.TempDir(), caddyfile, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			pace.Real(t).Errorf("caddy: %v", err)
		}
		if t.Failed() {
			t.Logf("log of caddy:\n%s", lastBytes(p.logs.String(), 12<<10))
		}
	})
	return p
}

// launch is startCaddy for a Caddy that outlives a test.
func launch(home, caddyfile string, options ...startOption) (*caddyProc, error) {
	o := startOptions{env: make(map[string]string), binary: caddyBinary}
	for _, option := range options {
		option(&o)
	}
	p := &caddyProc{
		home: home, logs: newLogBuffer(), done: make(chan struct{}),
		tlsConfig: testTLS().client(),
	}
	env, err := p.environment(o)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(home, "Caddyfile")
	if err := os.WriteFile(file, []byte(withGlobals(caddyfile)), 0o600); err != nil {
		return nil, err
	}
	p.cmd = exec.Command(o.binary, "run", "--adapter", "caddyfile", "--config", file)
	p.cmd.Env, p.cmd.Dir = env, home
	p.cmd.Stdout, p.cmd.Stderr = p.logs, p.logs
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := p.awaitLog(`"serving initial configuration"`); err != nil {
		_ = p.cmd.Process.Kill()
		<-p.done
		return nil, fmt.Errorf("caddy does not start: %w\n%s", err, p.logs.String())
	}
	return p, nil
}

// environment returns the whole environment of the process: nothing of the
// developer's gets in, and nothing is written to their home.
func (p *caddyProc) environment(o startOptions) ([]string, error) {
	ports, err := freePorts(5)
	if err != nil {
		return nil, err
	}
	loopback := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	p.site, p.site2, p.site3, p.adminAddr = loopback(0), loopback(1), loopback(2), loopback(3)
	p.tls = fmt.Sprintf("localhost:%d", ports[4])
	cert, key, err := testTLS().write(p.home)
	if err != nil {
		return nil, err
	}
	env := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": p.home, "TMPDIR": p.home,
		"XDG_DATA_HOME": filepath.Join(p.home, "data"), "XDG_CONFIG_HOME": filepath.Join(p.home, "config"),
		"SITE": p.site, "SITE2": p.site2, "SITE3": p.site3, "TLS": p.tls, "ADMIN": p.adminAddr,
		"CERT": cert, "KEY": key,
	}
	maps.Copy(env, o.env)
	p.env = env
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

// reload gives Caddy another Caddyfile and returns why it was rejected, or
// nil.
func (p *caddyProc) reload(t testing.TB, caddyfile string) error {
	t.Helper()
	for {
		// The admin server of the configuration before may still be closing its
		// socket, with this connection in the queue.
		if err := p.load(t, caddyfile); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			return err
		}
	}
}

func (p *caddyProc) load(t testing.TB, caddyfile string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.adminAddr+"/load",
		strings.NewReader(withGlobals(caddyfile)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	// The same configuration again is no reload unless it must be one.
	req.Header.Set("Cache-Control", "must-revalidate")
	// A reload restarts the admin server, and with it ends its connections.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return err
}

// terminate asks Caddy to stop, as a service manager does, and does not wait.
func (p *caddyProc) terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// stop ends Caddy and returns what was wrong with its life. It may be called
// again.
func (p *caddyProc) stop() error {
	_ = p.terminate()
	var err error
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		err = errors.New("did not stop when asked to")
	}
	log := p.logs.String()
	for _, sign := range []string{"WARNING: DATA RACE", "fatal error: ", "panic: ", "panic serving", "panic while"} {
		if i := strings.Index(log, sign); i >= 0 {
			err = errors.Join(err, fmt.Errorf("in its log: %s", log[max(0, i-200):min(len(log), i+6000)]))
			break
		}
	}
	return err
}

// awaitLog waits until the log holds text.
func (p *caddyProc) awaitLog(text string) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		log, changed := p.logs.state()
		if strings.Contains(log, text) {
			return nil
		}
		select {
		case <-changed:
		case <-p.done:
			if strings.Contains(p.logs.String(), text) {
				return nil
			}
			return fmt.Errorf("caddy has ended: %w", p.err)
		case <-timer.C:
			return fmt.Errorf("%q is not in the log", text)
		}
	}
}

// waitLog is awaitLog for a test.
func (p *caddyProc) waitLog(t testing.TB, text string) {
	t.Helper()
	if err := p.awaitLog(text); err != nil {
		t.Fatal(err)
	}
}

// freePorts returns ports that nobody listens on. They lie below those that
// the system gives to outgoing connections, so that none of these takes one
// before Caddy does.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := nextPort()
		tcp, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = tcp.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports")
}

// nextFreePort is freePorts for one port, as text for a configuration.
func nextFreePort(t testing.TB) string {
	t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(ports[0])
}

// lastBytes returns the end of s, at most n bytes.
func lastBytes(s string, n int) string { return s[max(0, len(s)-n):] }

// runCaddy runs a command of Caddy to its end and returns what it has printed
// and whether it has succeeded.
func runCaddy(t testing.TB, stdin string, args ...string) (output string, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
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
