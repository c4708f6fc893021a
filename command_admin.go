package websocketauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// adminHelp is what the commands that ask a running Caddy have in common.
const adminHelp = `
It asks the Caddy that runs, through its admin API, whose address is given by
--address or read from --config, if it is not the default.

The exit status is 0 if all was done, also to nobody, and else 1.
`

// addAdminFlags adds the flags of all commands that ask a running Caddy.
func addAdminFlags(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.Flags().StringP("config", "c", "", "Configuration file to read the admin address from, if --address is not used")
	cmd.Flags().StringP("adapter", "a", "", "Name of the config adapter (when --config is used)")
	cmd.Flags().String("address", "", "Address of the admin API, if not the default")
	cmd.Flags().Bool("json", false, "Print JSON, for programs")
}

// addIdentityFlags adds the flags that name identities.
func addIdentityFlags(cmd *cobra.Command) {
	cmd.Flags().String("issuer", "", "Issuer (iss) of the tokens; empty for tokens without one")
	cmd.Flags().String("subject", "", "Subject (sub) of the tokens")
	cmd.Flags().String("jti", "", "Id of the token")
	cmd.Flags().String("sid", "", "Id of the session at the provider")
}

// addFilterFlags adds the flags that name sessions.
func addFilterFlags(cmd *cobra.Command) {
	addIdentityFlags(cmd)
	cmd.Flags().String("site", "", "Site where the session came in")
	cmd.Flags().String("id", "", "Id of one session, instead of the other filters")
	for _, name := range filterWords {
		cmd.MarkFlagsMutuallyExclusive("id", name)
	}
}

// flagQuery returns the flags that were given as parameters of the same names.
func flagQuery(cmd *cobra.Command, names ...string) url.Values {
	query := url.Values{}
	for _, name := range names {
		if flag := cmd.Flag(name); flag.Changed {
			query.Set(name, flag.Value.String())
		}
	}
	return query
}

// flagIsSet tells whether a flag without a value was given.
func flagIsSet(cmd *cobra.Command, name string) bool {
	return cmd.Flag(name).Value.String() == "true"
}

// askAdmin asks the running Caddy and reads its answer into answer. path is
// what comes behind adminPrefix; body, which may be nil, is sent as JSON.
func askAdmin(cmd *cobra.Command, method, path string, query url.Values, body, answer any) error {
	address, err := caddycmd.DetermineAdminAPIAddress(
		cmd.Flag("address").Value.String(), nil, cmd.Flag("config").Value.String(), cmd.Flag("adapter").Value.String())
	if err != nil {
		return fmt.Errorf("finding out the admin address: %w", err)
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	uri := adminPrefix + path
	if len(query) > 0 {
		uri += "?" + query.Encode()
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, uri, http.Header{}, content)
	if err != nil {
		return fmt.Errorf("asking the Caddy at %s, see --address and --config: %w", address, err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of the Caddy at %s: %w", address, err)
	}
	return nil
}

// askPages asks for all pages of a list, or for as many entries as limit says
// unless it is 0. member is the list's name in the answer.
func askPages(cmd *cobra.Command, path, member string, query url.Values, limit int) (entries []json.RawMessage, total int, err error) {
	for {
		page := maxPage
		if limit > 0 {
			page = min(page, limit-len(entries))
		}
		query.Set("limit", strconv.Itoa(page))
		var answer map[string]json.RawMessage
		if err := askAdmin(cmd, http.MethodGet, path, query, nil, &answer); err != nil {
			return nil, 0, err
		}
		var found []json.RawMessage
		var next string
		for name, into := range map[string]any{member: &found, "total": &total, "next": &next} {
			if err := json.Unmarshal(answer[name], into); err != nil {
				return nil, 0, fmt.Errorf("reading %s of the answer: %w", name, err)
			}
		}
		entries = append(entries, found...)
		if next == "" || len(found) == 0 || limit > 0 && len(entries) >= limit {
			return entries, total, nil
		}
		query.Set("next", next)
	}
}

// printList prints entries as JSON, or row by row as a table.
func printList[T any](cmd *cobra.Command, member string, entries []json.RawMessage, total int, header string, row func(T) []string) error {
	if flagIsSet(cmd, "json") {
		if entries == nil {
			entries = []json.RawMessage{}
		}
		return printJSON(cmd, map[string]any{member: entries, "total": total})
	}
	table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, header)
	for _, entry := range entries {
		var value T
		if err := json.Unmarshal(entry, &value); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		cells := row(value)
		for i, cell := range cells {
			cells[i] = printable(cell)
			if i < len(cells)-1 {
				cells[i] = shortened(cells[i])
			}
		}
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

// printJSON prints a value for programs.
func printJSON(cmd *cobra.Command, value any) error {
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// printable returns text as a terminal may show it: whoever has chosen it, say
// as a name at the provider, must not be able to move the cursor or to turn
// the direction of writing.
func printable(text string) string {
	if text == "" {
		return "-"
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		quoted := strconv.Quote(text)
		return quoted[1 : len(quoted)-1]
	}
	return text
}

// maxCell is how wide a column of a table may get, in characters: who has chosen
// a name of thousands must not push all else off the screen.
const maxCell = 64

// shortened returns text as it fits into a column.
func shortened(text string) string {
	letters := []rune(text)
	if len(letters) <= maxCell {
		return text
	}
	return string(letters[:maxCell-1]) + "…"
}

// countOf returns a number with its word.
func countOf(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// sinceNow returns how long ago or ahead a moment is, to the second.
func sinceNow(at time.Time) string { return time.Since(at).Abs().Round(time.Second).String() }
