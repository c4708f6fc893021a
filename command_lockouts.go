package websocketauth

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

func init() {
	RegisterSubcommand(newLockoutsCommand)
}

func newLockoutsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lockouts [--client <ip>] [--release <ip> | --release-all] [--json]",
		Short: "Lists client addresses that are locked out, or lets them in again",
		Long: `
Lists the client addresses that have failed too often and are locked out on this
node, or the one that --client names. IPv6 addresses are locked out by /64.

--release lets an address in again, on all nodes, and forgets its failures;
--release-all does so with all addresses of the list.
` + adminHelp,
		RunE: runLockouts,
	}
	addAdminFlags(cmd)
	cmd.Flags().String("client", "", "Only this client address")
	cmd.Flags().String("release", "", "Let this client address in again")
	cmd.Flags().Bool("release-all", false, "Let all in again")
	cmd.MarkFlagsMutuallyExclusive("client", "release", "release-all")
	return cmd
}

func runLockouts(cmd *cobra.Command, _ []string) error {
	query := url.Values{}
	switch {
	case cmd.Flag("release").Changed:
		query.Set("address", cmd.Flag("release").Value.String())
		return runRelease(cmd, query)
	case flagIsSet(cmd, "release-all"):
		query.Set("all", "true")
		return runRelease(cmd, query)
	case cmd.Flag("client").Changed:
		query.Set("address", cmd.Flag("client").Value.String())
	}
	found, total, err := askPages(cmd, "lockouts", "lockouts", query, 0)
	if err != nil {
		return err
	}
	return printList(cmd, "lockouts", found, total, "ADDRESS\tUNTIL\tLEFT", func(l lockoutEntry) []string {
		return []string{l.Address, l.Until.Format(time.RFC3339), sinceNow(l.Until)}
	})
}

func runRelease(cmd *cobra.Command, query url.Values) error {
	var done struct {
		Released int `json:"released"`
	}
	if err := askAdmin(cmd, http.MethodDelete, "lockouts", query, nil, &done); err != nil {
		return err
	}
	if flagIsSet(cmd, "json") {
		return printJSON(cmd, done)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d of the addresses had been locked out on this node\n", done.Released)
	return nil
}
