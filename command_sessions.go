package websocketauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func init() {
	RegisterSubcommand(newSessionsCommand)
	RegisterSubcommand(newCloseCommand)
}

func newSessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sessions [--id <id> | [--issuer <iss>] [--subject <sub>] [--jti <jti>] [--sid <sid>] [--site <name>]] " +
			"[--limit <n>] [--json]",
		Short: "Lists the live sessions",
		Long: `
Lists the WebSockets that are open: all of them, those for which all filters
hold, or the one that --id names.

In the table, AGE is for how long a session has been open, and LEFT how long
its token is still good. The bytes and messages are the client's (IN) and those
that went to it (OUT).
` + adminHelp,
		Example: `  caddy websocket-auth sessions --issuer https://id.example.com --subject alice`,
		RunE:    runSessions,
	}
	addAdminFlags(cmd)
	addFilterFlags(cmd)
	cmd.Flags().Int("limit", 0, "How many to list at most; 0 for all")
	return cmd
}

func runSessions(cmd *cobra.Command, _ []string) error {
	limit, err := cmd.Flags().GetInt("limit")
	if err != nil || limit < 0 {
		return errors.New("--limit is how many sessions to list, or 0 for all")
	}
	var found []json.RawMessage
	var total int
	if id := cmd.Flag("id"); id.Changed {
		if id.Value.String() == "" {
			return errNoID
		}
		var one json.RawMessage
		if err := askAdmin(cmd, http.MethodGet, sessionPath(id.Value.String()), nil, nil, &one); err != nil {
			return err
		}
		found, total = []json.RawMessage{one}, 1
	} else if found, total, err = askPages(cmd, "sessions", "sessions", flagQuery(cmd, filterWords...), limit); err != nil {
		return err
	}
	const header = "ID\tSITE\tSUBJECT\tISSUER\tSTATE\tSOURCE\tCLIENT\tAGE\tLEFT\tBYTES IN\tBYTES OUT\tMSGS IN\tMSGS OUT"
	return printList(cmd, "sessions", found, total, header, sessionRow)
}

func sessionRow(s sessionInfo) []string {
	left := ""
	if s.ValidUntil != nil {
		left = "over"
		if s.ValidUntil.After(time.Now()) {
			left = sinceNow(*s.ValidUntil)
		}
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		s.ID, s.Site, s.Subject, s.Issuer, s.State, s.Source, s.ClientIP, sinceNow(s.OpenedAt), left,
		count(s.BytesIn), count(s.BytesOut), count(s.MessagesIn), count(s.MessagesOut),
	}
}

// errNoID is for an id that is given and empty, as of a shell's variable that is
// not set.
var errNoID = errors.New("--id is empty")

// sessionPath returns the path of one session.
func sessionPath(id string) string { return "sessions/" + url.PathEscape(id) }

func newCloseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "close (--id <id> | --all | [--issuer <iss>] [--subject <sub>] [--jti <jti>] [--sid <sid>] [--site <name>]) " +
			"[--code <n>] [--reason <text>] [--json]",
		Short: "Ends sessions",
		Long: `
Ends WebSockets with a close frame: those for which all filters hold, the one
that --id names, or all of them with --all. Their clients may come back: to keep
somebody out, use revoke.

Without --code clients are told not to come back by themselves, in the way of
their protocol, which is 3003 in most.
` + adminHelp,
		Example: `  caddy websocket-auth close --site chat --code 1012 --reason "moving house"`,
		RunE:    runClose,
	}
	addAdminFlags(cmd)
	addFilterFlags(cmd)
	cmd.Flags().Bool("all", false, "End all sessions")
	cmd.Flags().String("code", "", "Close code: 1000 to 1003, 1007 to 1009, 1011 to 1013, or 3000 to 4999")
	cmd.Flags().String("reason", "", "Reason in the close frame, at most 123 bytes")
	return cmd
}

func runClose(cmd *cobra.Command, _ []string) error {
	query := flagQuery(cmd, "code", "reason")
	path := "sessions"
	switch id := cmd.Flag("id"); {
	case id.Changed && id.Value.String() == "":
		return errNoID
	case id.Changed && flagIsSet(cmd, "all"):
		return errors.New("--id and --all contradict each other")
	case id.Changed:
		path = sessionPath(id.Value.String())
	default:
		filter := flagQuery(cmd, filterWords...)
		switch all := flagIsSet(cmd, "all"); {
		case all:
			query.Set("all", "true")
		case len(filter) == 0:
			return errors.New("no filter: say whom you mean by --id or the other filters, or end all sessions by --all")
		}
		maps.Copy(query, filter)
	}
	var done reached
	if err := askAdmin(cmd, http.MethodDelete, path, query, nil, &done); err != nil {
		return err
	}
	if flagIsSet(cmd, "json") {
		return printJSON(cmd, done)
	}
	fmt.Fprintln(cmd.OutOrStdout(), countOf(done.Sockets, "session"), "ended")
	return nil
}
