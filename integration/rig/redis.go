package rig

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
)

// RedisServer is a Redis of a test's own.
type RedisServer struct {
	port    string
	options []string
	process *exec.Cmd
}

// StartRedis starts a Redis on a free port of the loopback device, with
// further options. Without any it forgets everything when it is killed.
func StartRedis(t testing.TB, options ...string) *RedisServer {
	t.Helper()
	r := &RedisServer{port: NextFreePort(t)}
	r.options = append([]string{
		"--port", r.port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--daemonize", "no", "--logfile", "",
	}, options...)
	r.Start(t)
	t.Cleanup(r.Kill)
	return r
}

// Addr is where the Redis listens.
func (r *RedisServer) Addr() string { return "127.0.0.1:" + r.port }

// Start returns when Redis takes connections.
func (r *RedisServer) Start(t testing.TB) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("this test needs redis-server on the PATH: install it, on Debian with \"apt-get install redis-server\"")
	}
	process := exec.Command(path, r.options...)
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	r.process = process
	ready := make(chan string, 1)
	go func() {
		var log strings.Builder
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if strings.Contains(lines.Text(), "eady to accept connections") {
				ready <- ""
			}
			log.WriteString(lines.Text() + "\n")
		}
		select {
		case ready <- "redis-server has ended: " + log.String():
		default:
		}
	}()
	if problem := Receive(t, "line of redis-server that it is ready", ready, Patience); problem != "" {
		t.Fatal(problem)
	}
}

// Kill ends Redis as a crash does.
func (r *RedisServer) Kill() {
	if r.process != nil {
		_ = r.process.Process.Kill()
		_ = r.process.Wait()
		r.process = nil
	}
}
