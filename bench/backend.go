package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// backendRole is the argument with which the benchmark starts itself as the
// application behind Caddy. It is a process of its own for its descriptors
// and its memory.
const backendRole = "backend"

// startBackend runs the echo server as a child and returns its address. It
// ends when stop is called, or with the benchmark, whose end of the pipe it
// watches.
func startBackend() (addr string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, fmt.Errorf("finding the benchmark's own program: %w", err)
	}
	cmd := exec.Command(self, backendRole)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("starting the backend: %w", err)
	}
	stop = func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
	var line [64]byte
	n, err := stdout.Read(line[:])
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("waiting for the backend: %w", err)
	}
	return strings.TrimSpace(string(line[:n])), stop, nil
}

// runBackend is the child: it prints its address and echoes until its
// standard input ends.
func runBackend() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the backend: %w", err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is done
		_ = srv.Close()
	}()
	fmt.Println(ln.Addr())
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}

var (
	upgrader = websocket.Upgrader{
		ReadBufferSize:  4 << 10,
		WriteBufferPool: new(sync.Pool),
		// The benchmark is no browser and sends no Origin.
		CheckOrigin: func(*http.Request) bool { return true },
	}
	messages = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	defer conn.Close()
	for echoOne(conn) == nil {
	}
}

// echoOne answers one message. Its buffer goes back between messages, so that
// thousands of quiet sockets need no memory here.
func echoOne(conn *websocket.Conn) error {
	kind, r, err := conn.NextReader()
	if err != nil {
		return err
	}
	buf := messages.Get().(*bytes.Buffer)
	defer messages.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(r); err != nil {
		return err
	}
	return conn.WriteMessage(kind, buf.Bytes())
}
