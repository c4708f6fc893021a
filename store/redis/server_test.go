//go:build !windows

package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// TestMain fails when a test has left a goroutine behind, or when the client
// has printed something: it does so past every log of ours.
func TestMain(m *testing.M) {
	printed := &printed{}
	redis.SetLogger(printed)
	code := m.Run()
	if leaked := leakedGoroutines(patience); code == 0 && len(leaked) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines leaked:\n\n%s\n", len(leaked), strings.Join(leaked, "\n\n"))
		code = 1
	}
	if lines := printed.all(); code == 0 && len(lines) > 0 {
		fmt.Fprintf(os.Stderr, "the client has printed:\n%s\n", strings.Join(lines, "\n"))
		code = 1
	}
	os.Exit(code)
}

// printed is what the client prints.
type printed struct {
	mu    sync.Mutex
	lines []string
}

func (p *printed) Printf(_ context.Context, format string, v ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, fmt.Sprintf(format, v...))
}

func (p *printed) all() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines
}

// leakedGoroutines returns the stacks of what is left, waiting up to patience
// for what is just ending.
func leakedGoroutines(patience time.Duration) []string {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	over := time.After(patience)
	for {
		leaked := otherGoroutines()
		if len(leaked) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-over:
			return leaked
		}
	}
}

func otherGoroutines() (others []string) {
	buf := make([]byte, 1<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	for _, stack := range stacks[1:] { // the first is this one
		// The client library has a clock that runs from its start on.
		if !strings.Contains(stack, "os/signal.") && !strings.Contains(stack, "testing.runFuzz") &&
			!strings.Contains(stack, "go-redis/v9/internal/pool.init") {
			others = append(others, stack)
		}
	}
	return others
}

// server is a Redis of a test's own.
type server struct {
	t       testing.TB
	port    string
	options []string
	process *exec.Cmd
	raw     *redis.Client // to look and to spoil
}

// startServer starts a Redis on a free port, with further options. It forgets
// everything when it is killed.
func startServer(t testing.TB, options ...string) *server {
	t.Helper()
	port := freePort(t)
	s := &server{t: t, port: port}
	s.options = append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(),
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "",
	}, options...)
	s.start()
	t.Cleanup(s.kill)
	s.raw = redis.NewClient(&redis.Options{
		Addr: s.address(), Protocol: 2, DisableIdentity: true, PipelinePoolSize: -1, PoolSize: 1,
		MaxRetries: 5, ReadTimeout: patience, WriteTimeout: patience,
	})
	t.Cleanup(func() { s.raw.Close() })
	return s
}

// freePort returns a port that nobody listens on. It lies below those that the
// system gives to outgoing connections, so that none of these takes it while the
// server is away.
func freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(20_000 + rand.IntN(12_000))
		if listener, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

func (s *server) address() string { return "127.0.0.1:" + s.port }

// start returns when the server takes connections.
func (s *server) start() {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("these tests need redis-server on the PATH: install it, on Debian with \"apt-get install redis-server\"")
	}
	process := exec.Command(path, s.options...)
	output, err := process.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = process
	ready := make(chan string, 1)
	go func() {
		var log strings.Builder
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "eady to accept connections") {
				ready <- ""
			}
			log.WriteString(lines.Text() + "\n")
		}
		select {
		case ready <- log.String():
		default:
		}
	}()
	select {
	case log := <-ready:
		if log != "" {
			s.t.Fatalf("redis-server has ended:\n%s", log)
		}
	case <-time.After(patience):
		s.t.Fatal("redis-server does not take connections")
	}
}

// kill gives the server no time for anything.
func (s *server) kill() {
	if s.process != nil {
		s.process.Process.Kill()
		s.process.Wait()
		s.process = nil
	}
}

// do runs a command, on a connection that may be new.
func (s *server) do(arguments ...any) any {
	s.t.Helper()
	answer, err := s.raw.Do(context.Background(), arguments...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("%.100v: %v", arguments, err)
	}
	return answer
}

// relay stands between one node and Redis, and can cut it off.
type relay struct {
	listener net.Listener
	mu       sync.Mutex // guards the following
	target   string
	cut      bool
	conns    map[net.Conn]bool
	all      sync.WaitGroup
}

func startRelay(t testing.TB, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, target: target, conns: make(map[net.Conn]bool)}
	r.all.Go(r.accept)
	t.Cleanup(func() {
		listener.Close()
		r.setCut(true)
		r.all.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.all.Go(func() { r.serve(conn) })
	}
}

func (r *relay) serve(conn net.Conn) {
	defer conn.Close()
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	other, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer other.Close()
	if !r.keep(conn, other) {
		return
	}
	defer r.drop(conn, other)
	r.all.Go(func() { copyUntilEnd(other, conn) })
	copyUntilEnd(conn, other)
}

func copyUntilEnd(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (r *relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		r.conns[conn] = true
	}
	return !r.cut
}

func (r *relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		delete(r.conns, conn)
	}
}

// setCut cuts the node off, or lets it through again.
func (r *relay) setCut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	if cut {
		for conn := range r.conns {
			conn.Close()
		}
	}
}
