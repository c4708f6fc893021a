package websocketauth

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var metricDesc = regexp.MustCompile(`fqName: "([a-z_]+)".*constLabels: \{(.*)\}, variableLabels: \{([^}]*)\}`)

// metricLabels are the labels of all metrics that a configuration's registry
// shows of ours, by name.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	descs := make(chan *prometheus.Desc, 1000)
	counts.Describe(descs)
	close(descs)
	all := map[string][]string{
		metricPrefix + "store_up": nil, metricPrefix + "store_complete": nil,
		metricPrefix + "store_lag_seconds": nil, metricPrefix + "ready": nil,
	}
	for desc := range descs {
		match := metricDesc.FindStringSubmatch(desc.String())
		if match == nil {
			t.Fatalf("no name in %s", desc)
		}
		var labels []string
		for pair := range strings.SplitSeq(match[2], ",") {
			if name, _, ok := strings.Cut(pair, "="); ok {
				labels = append(labels, name)
			}
		}
		all[match[1]] = append(labels, strings.FieldsFunc(match[3], func(r rune) bool { return r == ',' })...)
	}
	return all
}

// metricOf returns the name of the metric that a series belongs to, which is
// its own but for histograms.
func metricOf(series string, all map[string][]string) string {
	for _, suffix := range []string{"", "_bucket", "_count", "_sum"} {
		if name, ok := strings.CutSuffix(series, suffix); ok {
			if _, known := all[name]; known {
				return name
			}
		}
	}
	return ""
}

// TestMetricsInDocs: the table in docs/metrics.md and the dashboard name all
// metrics, and none that there is not.
func TestMetricsInDocs(t *testing.T) {
	t.Parallel()
	all := metricLabels(t)
	if len(all) < 20 {
		t.Fatalf("%d metrics found, too few", len(all))
	}
	mentioned := regexp.MustCompile(metricPrefix + `[a-z_]+`)
	for _, file := range []string{"docs/metrics.md", "docs/grafana.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]bool)
		for _, name := range mentioned.FindAllString(string(text), -1) {
			metric := metricOf(name, all)
			if metric == "" {
				t.Errorf("%s names %s, which does not exist", file, name)
			}
			found[metric] = true
		}
		for name := range all {
			if !found[name] {
				t.Errorf("%s does not name %s", file, name)
			}
		}
	}
}

// TestLabelsInDocs: the table has the labels of each metric, and they are none
// that a client could fill.
func TestLabelsInDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, labels := range metricLabels(t) {
		row := regexp.MustCompile("\\| `" + name + "` \\| [a-z]+ \\| ([^|]*)\\|").FindStringSubmatch(string(text))
		if row == nil {
			t.Errorf("docs/metrics.md has no row for %s", name)
			continue
		}
		documented := strings.FieldsFunc(row[1], func(r rune) bool { return strings.ContainsRune("`, ", r) })
		slices.Sort(labels)
		slices.Sort(documented)
		if !slices.Equal(labels, documented) {
			t.Errorf("%s has the labels %q, and docs/metrics.md says %q", name, labels, documented)
		}
	}
}

// panel is one of the dashboard.
type panel struct {
	ID         int
	Title      string
	GridPos    struct{ X, Y, W, H int }
	Datasource struct{ Type, UID string }
	Targets    []struct {
		RefID, Expr, LegendFormat string
	}
}

// TestDashboard: the dashboard is JSON whose panels have places of their own,
// and ask for series that there are, from the data source that the user chooses.
func TestDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		UID, Title    string
		SchemaVersion int
		Panels        []panel
		Templating    struct{ List []struct{ Name, Type string } }
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID == "" || dashboard.Title == "" || dashboard.SchemaVersion < 36 || len(dashboard.Panels) < 10 {
		t.Errorf("not a whole dashboard: %q %q, schema %d, %d panels",
			dashboard.UID, dashboard.Title, dashboard.SchemaVersion, len(dashboard.Panels))
	}
	variables := make(map[string]string)
	for _, v := range dashboard.Templating.List {
		variables[v.Name] = v.Type
	}
	if variables["datasource"] != "datasource" || variables["job"] != "query" || variables["instance"] != "query" {
		t.Errorf("variables %v", variables)
	}
	all := metricLabels(t)
	for n, p := range dashboard.Panels {
		for _, other := range dashboard.Panels[:n] {
			if p.ID == other.ID || p.overlaps(other) {
				t.Errorf("panels %q and %q are in each other's place", p.Title, other.Title)
			}
		}
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W < 1 || p.GridPos.H < 1 {
			t.Errorf("panel %q is at %+v", p.Title, p.GridPos)
		}
		if p.Datasource.Type != "prometheus" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q asks %d questions of %v", p.Title, len(p.Targets), p.Datasource)
		}
		for _, target := range p.Targets {
			askedRightly(t, target.Expr, target.LegendFormat, all)
		}
	}
}

func (p panel) overlaps(other panel) bool {
	a, b := p.GridPos, other.GridPos
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

var (
	selector  = regexp.MustCompile(metricPrefix + `([a-z_]+)\{([^}]*)\}(\[\$__rate_interval\])?`)
	grouping  = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
	matcher   = regexp.MustCompile(`^([a-z]+)(=|=~)"[^"]*"$`)
	inLegends = regexp.MustCompile(`\{\{([a-z_]+)\}\}`)
)

// askedRightly checks an expression: its brackets, that it asks for rates of
// counters and values of gauges, and for labels that the metric has.
func askedRightly(t *testing.T, expr, legend string, all map[string][]string) {
	t.Helper()
	asked := selector.FindAllStringSubmatch(expr, -1)
	if len(asked) == 0 || len(asked) != strings.Count(expr, metricPrefix) || strings.Count(expr, "(") != strings.Count(expr, ")") {
		t.Errorf("not well formed: %s", expr)
	}
	for _, match := range asked {
		metric := metricOf(metricPrefix+match[1], all)
		labels := append(slices.Clone(all[metric]), "job", "instance")
		if strings.HasSuffix(match[1], "_bucket") {
			labels = append(labels, "le")
		}
		counted := metricPrefix+match[1] != metric || strings.HasSuffix(match[1], "_total")
		if rated := match[3] != ""; metric == "" || rated != counted {
			t.Errorf("a counter without a range, a gauge with one, or unknown: %s", expr)
		}
		for pair := range strings.SplitSeq(match[2], ",") {
			if m := matcher.FindStringSubmatch(pair); m == nil || !slices.Contains(labels, m[1]) {
				t.Errorf("%s has no label as in %s: %s", metric, pair, expr)
			}
		}
		var kept []string
		for _, by := range grouping.FindAllStringSubmatch(expr, -1) {
			kept = strings.Split(strings.ReplaceAll(by[1], " ", ""), ",")
		}
		for _, label := range kept {
			if !slices.Contains(labels, label) {
				t.Errorf("%s has no label %s: %s", metric, label, expr)
			}
		}
		for _, shown := range inLegends.FindAllStringSubmatch(legend, -1) {
			if !slices.Contains(kept, shown[1]) {
				t.Errorf("the legend %q shows what is not kept by %s", legend, expr)
			}
		}
	}
}

// TestNoticesInDocs: the tables of lines and events are those of the code.
func TestNoticesInDocs(t *testing.T) {
	t.Parallel()
	logs, err := os.ReadFile("docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	events, err := os.ReadFile("docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := []notice{
		noticeOpened, noticeRefused, noticeRenewed, noticeSuspended, noticeResumed, noticeEnded, noticeRevoked, noticeLockedOut,
		noticePolled, noticePolledEnded,
	}
	for _, n := range all {
		if !strings.Contains(string(logs), "| `"+n.line+"` |") {
			t.Errorf("docs/logs.md lacks %q", n.line)
		}
		if !strings.Contains(string(events), "| `"+n.event+"` |") {
			t.Errorf("docs/metrics.md lacks %q", n.event)
		}
	}
	named := regexp.MustCompile("`websocket_auth_[a-z_]+`").FindAllString(string(events), -1)
	if len(named) != len(all) {
		t.Errorf("docs/metrics.md names %d events, there are %d: %v", len(named), len(all), named)
	}
}

// TestLinesInDocs: docs/logs.md knows each line from info on that an operator
// may find in the log.
func TestLinesInDocs(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?:\.(?:Error|Warn|Info)\(|Check\([a-zA-Z.]+, )"([^"]+)"`)
	found := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, match := range line.FindAllStringSubmatch(string(source), -1) {
			found++
			if !documentedLine(string(docs), match[1]) {
				t.Errorf("docs/logs.md lacks the line of %s: %q", file, match[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("%d lines found, too few", found)
	}
}

// documentedLine tells whether docs has the line, or as much of its beginning
// as comes before an ellipsis.
func documentedLine(docs, line string) bool {
	for _, match := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(docs, -1) {
		if begin, more := strings.CutSuffix(match[1], "…"); match[1] == line || more && strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// TestCausesInDocs: docs/refusals.md has each word of how a socket ends.
func TestCausesInDocs(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("docs/refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	word := regexp.MustCompile(`(?:Cause +(?:proxy\.Cause )?= |Cause: )"([a-z_]+)"`)
	found := 0
	files = slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, "_test.go") })
	for _, file := range append(files, "proxy/end.go") {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range word.FindAllStringSubmatch(string(source), -1) {
			found++
			if !strings.Contains(string(docs), "`"+match[1]+"`") {
				t.Errorf("docs/refusals.md lacks %s, of %s", match[1], file)
			}
		}
	}
	if found < 15 {
		t.Errorf("%d words found, too few", found)
	}
}
