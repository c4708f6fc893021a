package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	websocketauth "github.com/caddy-websocket-auth/caddy-websocket-auth"
)

// defaultListen is where the page is, unless --listen says otherwise.
const defaultListen = "127.0.0.1:8080"

func init() {
	websocketauth.RegisterSubcommand(newCommand)
}

func newCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo [--listen <address>]",
		Short: "Runs a chat behind websocket_auth, to try it out in a browser",
		Long: `
Runs a token issuer, a chat that knows nothing of tokens, a web page to try
them with, and Caddy with websocket_auth in front, in one process. Prints the
Caddyfile that it runs. Only this machine can reach it, nothing is installed,
and nothing stays behind when Ctrl-C ends it.
`,
		Args: cobra.NoArgs,
		RunE: caddycmd.WrapCommandFuncForCobra(run),
	}
	cmd.Flags().String("listen", defaultListen, "Loopback address and port of the page; port 0 takes any that is free")
	return cmd
}

// run runs the demonstration until a signal ends the process.
func run(fl caddycmd.Flags) (int, error) {
	listen, err := parseListen(fl.String("listen"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	storage, err := os.MkdirTemp("", "websocket-auth-demo-")
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer os.RemoveAll(storage) // if it does not even start
	// Caddy notes the id of the installation in the person's own folder.
	if err := os.Setenv("XDG_DATA_HOME", storage); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	caddy.OnExit(func(context.Context) { _ = os.RemoveAll(storage) })
	caddy.TrapSignals()

	d, err := Start(listen, storage)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if err := announce(os.Stdout, d); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	// Caddy's signal handler stops Caddy and ends the process.
	select {}
}

// announce says what is running, and where.
func announce(w io.Writer, d *Demo) error {
	_, err := fmt.Fprintf(w, `
# The Caddyfile that is running:

%s
# Open %s in a browser. Ctrl-C ends the demonstration.
`, d.Caddyfile(), d.URL())
	return err
}

// parseListen reads an address such as localhost:8080. Everybody gets a token
// from the demonstration, so everything but a loopback address is refused.
func parseListen(text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--listen %s: want an address and a port, such as %s", text, defaultListen)
	}
	if host == "localhost" {
		host = localhost4.String()
	}
	listen, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("--listen %s: want an IP address and a port, such as %s", text, defaultListen)
	}
	if addr := listen.Addr(); !addr.IsLoopback() || addr.Is4In6() || addr.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("--listen %s: the demonstration gives a token to everybody, "+
			"so it listens on loopback addresses only, such as %s", text, defaultListen)
	}
	return listen, nil
}
