// Package demo is the demonstration of the websocket_auth directive: a token
// issuer, a chat that knows nothing of tokens, a web page, and Caddy in front
// of them, all in one process that can be reached from this machine only.
//
// It adds the command `caddy websocket-auth demo` to the program that imports
// it.
package demo

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// localhost4 is where everything inside the demonstration listens.
var localhost4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// headerTimeout bounds the wait for a request's header, as every server that
// is more than an experiment should.
const headerTimeout = 10 * time.Second

// Demo is a running demonstration. There can be one in a process, because a
// process has one Caddy.
type Demo struct {
	site      site
	caddyfile []byte
	chat      chat
	servers   []*http.Server
	serving   sync.WaitGroup
}

// Start starts everything. listen is the loopback address of the page; with
// port 0 any free port. storage is a folder in which Caddy may write; it
// belongs to the caller. Unless there is an error, the caller must call
// Close.
func Start(listen netip.AddrPort, storage string) (*Demo, error) {
	listen, err := freeAddress(listen)
	if err != nil {
		return nil, err
	}
	d := &Demo{site: site{Listen: listen, Storage: storage}}
	if err := d.start(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// URL is the address of the page.
func (d *Demo) URL() string { return d.site.URL() }

// Caddyfile is the configuration that Caddy runs.
func (d *Demo) Caddyfile() string { return string(d.caddyfile) }

// Close stops everything and waits for it.
func (d *Demo) Close() error {
	errs := []error{caddy.Stop()}
	for _, server := range d.servers {
		errs = append(errs, server.Close())
	}
	// The servers do not know the sockets that the chat has taken over.
	d.chat.Close()
	d.serving.Wait()
	return errors.Join(errs...)
}

func (d *Demo) start() error {
	page, err := pageHandler(d.site.sockets())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for _, path := range []string{chatPath, renewPath, everyPath} {
		mux.Handle(path, &d.chat)
	}
	if err := d.startIssuer(); err != nil {
		return err
	}
	if d.site.Chat, err = d.serve(mux); err != nil {
		return err
	}
	o, err := newOperator(d.site.Issuer)
	if err != nil {
		return err
	}
	pages := http.NewServeMux()
	pages.Handle("/", page)
	pages.Handle(sessionsPath, o.handler())
	pages.Handle(sessionsPath+"/", o.handler())
	if d.site.Page, err = d.serve(pages); err != nil {
		return err
	}
	return d.startCaddy()
}

// startIssuer listens before it serves, because the issuer has to know its own
// address.
func (d *Demo) startIssuer() error {
	listener, err := listenInside()
	if err != nil {
		return err
	}
	d.site.Issuer = "http://" + listener.Addr().String()
	i, err := newIssuer(d.site.Issuer)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	d.serveOn(listener, i.handler())
	return nil
}

// serve starts one of the servers behind Caddy and returns its address.
func (d *Demo) serve(handler http.Handler) (string, error) {
	listener, err := listenInside()
	if err != nil {
		return "", err
	}
	d.serveOn(listener, handler)
	return listener.Addr().String(), nil
}

// serveOn serves until Close.
func (d *Demo) serveOn(listener net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout}
	d.servers = append(d.servers, server)
	d.serving.Go(func() { _ = server.Serve(listener) })
}

// listenInside listens for requests from Caddy, on any free port.
func listenInside() (net.Listener, error) {
	listener, err := net.Listen("tcp", netip.AddrPortFrom(localhost4, 0).String())
	if err != nil {
		return nil, fmt.Errorf("listening for requests from Caddy: %w", err)
	}
	return listener, nil
}

// startCaddy adapts the Caddyfile and runs it, as `caddy run` does.
func (d *Demo) startCaddy() error {
	var err error
	if d.caddyfile, err = d.site.caddyfile(); err != nil {
		return fmt.Errorf("writing the Caddyfile: %w", err)
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(d.caddyfile, nil)
	if err != nil {
		return fmt.Errorf("adapting the Caddyfile: %w", err)
	}
	if err := caddy.Load(config, false); err != nil {
		return fmt.Errorf("starting Caddy: %w", err)
	}
	return nil
}

// freeAddress fills in a free port where the port is 0, and otherwise checks
// that nobody has it. Caddy would not notice: on Unix it shares its ports, and
// two demonstrations would get each other's requests.
func freeAddress(listen netip.AddrPort) (netip.AddrPort, error) {
	listener, err := net.Listen("tcp", listen.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w (another port: --listen %s; any free port: --listen %s)",
			err, netip.AddrPortFrom(listen.Addr(), listen.Port()+1), netip.AddrPortFrom(listen.Addr(), 0))
	}
	defer listener.Close()
	return netip.ParseAddrPort(listener.Addr().String())
}
