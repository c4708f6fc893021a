package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The two Caddyfiles. Caddy alone is what one writes without this module;
// the guarded one is the README's. They differ in nothing else.
const (
	plainCaddyfile = `{
	admin %[1]s
	default_bind 127.0.0.1
	persist_config off
	skip_install_trust
}
(app) {
	reverse_proxy %[3]s
}
http://%[2]s {
	handle ` + firstPath + ` {
		import app
	}
	handle ` + renewPath + ` {
		import app
	}
	handle ` + everyPath + ` {
		import app
	}
	handle ` + graphQLPath + ` {
		import app
	}
	handle {
		import app
	}
}
`
	guardedCaddyfile = `{
	admin %[1]s
	default_bind 127.0.0.1
	persist_config off
	skip_install_trust
	log default {
		format filter {
			uri websocket_credential
			request>uri websocket_credential
			request>headers>Sec-Websocket-Protocol websocket_credential
			request>headers>Referer websocket_credential
			resp_headers>Sec-Websocket-Protocol websocket_credential
			resp_headers>Location websocket_credential
		}
	}
}
(app) {
	websocket_auth {
		verify jwt %[4]s {
			audience ` + audience + `
		}
		{block}
	}
	reverse_proxy %[3]s {
		header_up X-User {http.auth.user.id}
		stream_close_delay 1h
		stream_buffer_size 4KiB
	}
}
http://%[2]s {
	handle ` + firstPath + ` {
		import app {
			from first_message
		}
	}
	handle ` + renewPath + ` {
		import app {
			from first_message
			on_expiry renew
		}
	}
	handle ` + everyPath + ` {
		import app {
			from every_message
		}
	}
	handle ` + graphQLPath + ` {
		import app {
			from first_message
			dialect graphql
		}
	}
	handle {
		import app {
		}
	}
}
`
)

// buildCaddy builds cmd/caddy of this module into dir.
func buildCaddy(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "caddy")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program,
		"github.com/caddy-websocket-auth/caddy-websocket-auth/cmd/caddy")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building cmd/caddy: %w\n%s", err, out)
	}
	return program, nil
}

// caddy is one running Caddy.
type caddy struct {
	// site is the address of the site, admin that of the admin API.
	site, admin string
	cmd         *exec.Cmd
	log         string
	// exited is closed when the process has ended; exit is how, from then.
	exited chan struct{}
	exit   error
}

// startCaddy runs the program with the Caddyfile, whose verbs are in the
// order admin, site, backend, key set, and returns when the site accepts
// connections. dir gets its files; nothing is written elsewhere.
func startCaddy(ctx context.Context, program, dir, caddyfile, backend, keys string) (*caddy, error) {
	site, admin, err := freeAddrs()
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp(dir, "home-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(home, "Caddyfile")
	text := fmt.Sprintf(caddyfile, admin, site, backend, keys)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	c := &caddy{
		site: site, admin: admin, exited: make(chan struct{}),
		log: filepath.Join(home, "log"),
	}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.CommandContext(ctx, program, "run", "--config", config, "--adapter", "caddyfile")
	c.cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting Caddy: %w", err)
	}
	go func() { // ends with the process, for which stop waits
		c.exit = c.cmd.Wait()
		close(c.exited)
	}()
	if err := c.waitUntilUp(ctx); err != nil {
		c.stop()
		return nil, fmt.Errorf("%s: %w\n%s", program, err, c.lastLog())
	}
	return c, nil
}

func (c *caddy) waitUntilUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", c.site)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-c.exited:
			return fmt.Errorf("ended instead of serving: %w", c.exit)
		case <-ctx.Done():
			return fmt.Errorf("waiting for Caddy: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// stop ends the process. It is killed: what a stop costs is not measured.
func (c *caddy) stop() {
	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	<-c.exited
}

// lastLog returns the end of what Caddy has printed, for error messages.
func (c *caddy) lastLog() []byte {
	text, err := os.ReadFile(c.log)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(text[max(0, len(text)-4<<10):])
}

func (c *caddy) pid() int { return c.cmd.Process.Pid }

// collect makes Caddy collect its garbage, through the profile of the admin
// API.
func (c *caddy) collect(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.admin+"/debug/pprof/heap?gc=1", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking Caddy to collect garbage: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("asking Caddy to collect garbage: %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// settledBytes returns the resident size once it no longer shrinks: garbage
// is collected and its pages are returned.
func (c *caddy) settledBytes(ctx context.Context) (int64, error) {
	last := int64(-1)
	for range 20 {
		if err := c.collect(ctx); err != nil {
			return 0, err
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return 0, err
		}
		size, err := residentBytes(c.pid())
		if err != nil {
			return 0, err
		}
		if last >= 0 && size > last-last/200 { // within half a percent
			return size, nil
		}
		last = size
	}
	return last, nil
}

// freeAddrs returns two loopback addresses on which nobody listens.
func freeAddrs() (a, b string, err error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer first.Close()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer second.Close()
	return first.Addr().String(), second.Addr().String(), nil
}

// pause waits, or returns early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
