package websocketauth

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func init() {
	RegisterSubcommand(newKeysCommand)
}

func newKeysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys [--json]",
		Short: "Shows the key sets that tokens are verified with",
		Long: `
Shows the key sets that are fetched from providers: whether they are fresh, how
old they are, and why the last fetch failed, if it did.
` + adminHelp,
		RunE: runKeys,
	}
	addAdminFlags(cmd)
	return cmd
}

func runKeys(cmd *cobra.Command, _ []string) error {
	var answer struct {
		KeySets []json.RawMessage `json:"key_sets"`
	}
	if err := askAdmin(cmd, http.MethodGet, "keys", nil, nil, &answer); err != nil {
		return err
	}
	const header = "SOURCE\tSTATE\tAGE\tKEYS\tKEY IDS\tLAST ERROR"
	return printList(cmd, "key_sets", answer.KeySets, len(answer.KeySets), header, keySetRow)
}

func keySetRow(k keySetInfo) []string {
	age := ""
	if k.FetchedAt != nil {
		age = sinceNow(*k.FetchedAt)
	}
	return []string{k.Source, k.State, age, strconv.Itoa(k.Keys), strings.Join(k.KeyIDs, " "), k.LastError}
}
