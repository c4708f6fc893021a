package websocketauth

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "websocket-auth",
		Usage: "<command>",
		Short: "Looks after WebSocket authentication",
		Long: `
Commands around the websocket_auth directive. Each has a help text of its own:

	caddy websocket-auth <command> --help
`,
		CobraFunc: addSubcommands,
	})
}

// subcommands makes what stands below `caddy websocket-auth`. It is written
// in init functions only.
var subcommands []func() *cobra.Command

// RegisterSubcommand adds a command below `caddy websocket-auth`, so that a
// package which this one does not know can bring its own. newCommand is called
// once for each command tree that Caddy builds. RegisterSubcommand must be
// called in an init function.
func RegisterSubcommand(newCommand func() *cobra.Command) {
	subcommands = append(subcommands, newCommand)
}

func addSubcommands(cmd *cobra.Command) {
	// Without this, cobra takes an unknown word for an argument of the
	// command, shows the help text and reports success.
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	for _, newCommand := range subcommands {
		cmd.AddCommand(newCommand())
	}
}
