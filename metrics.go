package websocketauth

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// metricPrefix is in front of the name of every metric.
const metricPrefix = "caddy_websocket_auth_"

// The results that metrics tell apart.
const (
	resultAccepted    = "accepted"
	resultRefused     = "refused"
	resultFailed      = "failed" // let on, and no WebSocket came of it
	resultUnavailable = "unavailable"
)

// counts is what this process counts. Caddy has a registry of metrics for each
// configuration, and sockets outlive theirs: each registry shows the same
// counts, so that a reload changes none.
var counts = newMetrics()

// metrics are counters of the whole process. Every label is of a closed set,
// or of what the configuration names: never what a client has sent.
type metrics struct {
	// states are how many sockets there are, by [proxy.State].
	states [3]atomic.Int64
	// traffic is what has passed their gates.
	traffic traffic

	handshakes, requests, logins, renewals *prometheus.CounterVec
	opened, ended, messagesRefused         *prometheus.CounterVec
	suspended, resumed                     prometheus.Counter
	revocations, lockouts, eventsDropped   prometheus.Counter
	durations                              prometheus.Histogram
	verifications                          *prometheus.HistogramVec

	all []prometheus.Collector
}

func newMetrics() *metrics {
	m := new(metrics)
	m.handshakes = m.counterVec("handshakes_total",
		"WebSocket handshakes, by what became of them.", "result", "source", "reason")
	m.requests = m.counterVec("http_requests_total",
		"Requests that are no handshake and need a credential, by what became of them.", "result", "source", "reason")
	m.logins = m.counterVec("logins_total",
		"Logins by message, by what became of them.", "result", "source", "reason")
	m.renewals = m.counterVec("renewals_total",
		"Renewals of a socket's credential, by what became of them.", "result", "reason")
	m.opened = m.counterVec("sessions_opened_total",
		"Sockets that have got an identity.", "source", "dialect", "verifier")
	m.ended = m.counterVec("sessions_ended_total",
		"Sockets that have ended, also before a login, by cause.", "cause")
	m.messagesRefused = m.counterVec("messages_refused_total",
		"Messages on open sockets that were refused for something else than a credential.", "reason")
	m.suspended = m.counter("sessions_suspended_total", "Times that a socket was suspended.")
	m.resumed = m.counter("sessions_resumed_total", "Times that a suspended socket was opened again.")
	m.revocations = m.counter("revocations_total", "Revocations that this node has learned of.")
	m.lockouts = m.counter("lockouts_total", "Times that this node has locked a client address out.")
	m.eventsDropped = m.counter("events_dropped_total", "Events nobody was told of, because their handlers were too slow.")
	m.durations = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: metricPrefix + "session_duration_seconds", Help: "How long the sockets that have ended had lived.",
		Buckets: []float64{1, 10, 60, 600, 3600, 4 * 3600, 12 * 3600, 24 * 3600},
	})
	m.verifications = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: metricPrefix + "verification_duration_seconds", Help: "How long verifiers took, by what they said.",
		Buckets: []float64{0.00001, 0.0001, 0.001, 0.01, 0.1, 1, 10},
	}, []string{"verifier", "result"})
	m.all = append(m.all, m.durations, m.verifications)
	m.addStates()
	m.addTraffic()
	m.addGauges()
	m.addStart()
	return m
}

// addStart shows as 0 what has not happened yet, as far as its labels are known
// and somebody may be alerted by it: the first time would be no increase
// otherwise.
func (m *metrics) addStart() {
	m.renewals.WithLabelValues(resultAccepted, "")
	for _, reason := range []auth.Reason{reasonUnavailable, reasonInternal} {
		m.renewals.WithLabelValues(resultRefused, string(reason))
		for _, source := range []string{
			"", sourceSubprotocol, sourceQuery, sourceHeader, sourceCookie,
		} {
			m.handshakes.WithLabelValues(resultRefused, source, string(reason))
		}
		for _, source := range []string{sourceFirstMessage, sourceEveryMessage} {
			m.logins.WithLabelValues(resultRefused, source, string(reason))
		}
	}
}

func (m *metrics) counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels)
	m.all = append(m.all, c)
	return c
}

func (m *metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	m.all = append(m.all, c)
	return c
}

// gauge adds a gauge that is asked when somebody looks.
func (m *metrics) gauge(name, help string, labels prometheus.Labels, value func() float64) {
	m.all = append(m.all, newGauge(name, help, labels, value))
}

func newGauge(name, help string, labels prometheus.Labels, value func() float64) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricPrefix + name, Help: help, ConstLabels: labels,
	}, value)
}

func (m *metrics) addStates() {
	for state, word := range map[proxy.State]string{
		proxy.StatePending: statePending, proxy.StateOpen: stateOpen, proxy.StateSuspended: stateSuspended,
	} {
		m.gauge("sessions", "Sockets there are, by state.", prometheus.Labels{"state": word},
			func() float64 { return float64(m.states[state].Load()) })
	}
}

func (m *metrics) addTraffic() {
	for _, way := range []struct {
		direction       string
		messages, bytes *atomic.Int64
	}{
		{"in", &m.traffic.messagesIn, &m.traffic.bytesIn},
		{"out", &m.traffic.messagesOut, &m.traffic.bytesOut},
	} {
		labels := prometheus.Labels{"direction": way.direction}
		m.all = append(m.all,
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: metricPrefix + "messages_total", ConstLabels: labels,
				Help: "Messages of applications that have passed, by direction: in is from clients.",
			}, func() float64 { return float64(way.messages.Load()) }),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: metricPrefix + "bytes_total", ConstLabels: labels,
				Help: "Bytes of WebSocket frames that have passed, by direction: in is from clients.",
			}, func() float64 { return float64(way.bytes.Load()) }))
	}
}

func (m *metrics) addGauges() {
	m.gauge("revocations", "Revocations that are kept on this node.", nil,
		func() float64 { return float64(revocations.Len()) })
	m.gauge("revocations_saved", "Whether they would outlast a restart, as far as has been tried.", nil,
		func() float64 { return oneIf(!saved.fails()) })
	m.gauge("locked_out", "Client addresses that are locked out on this node.", nil,
		func() float64 { return float64(lockouts.LockedOut(time.Now())) })
	for _, state := range []auth.KeyState{auth.KeysAwaited, auth.KeysFresh, auth.KeysStale, auth.KeysMissing} {
		m.gauge("key_sets", "Sets of keys that are fetched from providers, by how they stand.",
			prometheus.Labels{"state": string(state)},
			func() float64 { n, _ := keySetsThat(state); return float64(n) })
	}
	m.gauge("key_sets_oldest_age_seconds", "Age of the set of keys that was not fetched for the longest time.", nil,
		func() float64 {
			_, oldest := keySetsThat("")
			return oldest.Seconds()
		})
}

// keySetsThat returns how many sets of keys are in a state, and how old the
// oldest of all is.
func keySetsThat(are auth.KeyState) (n int, oldest time.Duration) {
	keyPool.Range(func(_, value any) bool {
		keys, ok := value.(*pooledKeys)
		if !ok || keys.RemoteKeys == nil {
			return true
		}
		state := keys.State()
		if state.State == are {
			n++
		}
		if !state.FetchedAt.IsZero() {
			oldest = max(oldest, time.Since(state.FetchedAt))
		}
		return true
	})
	return n, oldest
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range m.all {
		c.Describe(descs)
	}
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(values chan<- prometheus.Metric) {
	m.traffic.read(time.Now())
	for _, c := range m.all {
		c.Collect(values)
	}
}

// register has the registry of a configuration show what the process counts,
// and how the store of that configuration stands, which a holds. What it adds
// goes with the configuration.
func (m *metrics) register(ctx caddy.Context, a *App) error {
	f := a.held.Load()
	for _, c := range []prometheus.Collector{
		m,
		newGauge("ready", "Whether this node knows enough of what is revoked to let clients in.", nil,
			func() float64 { return oneIf(a.ready() == nil) }),
		newGauge("store_lag_seconds", "For how long this node has not had all that the store knows.", nil,
			func() float64 { return f.lag().Seconds() }),
		newGauge("store_up", "Whether the store that nodes share can be reached.", nil,
			func() float64 { return oneIf(!f.away.Load()) }),
		newGauge("store_complete", "Whether the store has told this node once all that is revoked.", nil,
			func() float64 { return oneIf(f.complete.Load()) }),
	} {
		err := ctx.GetMetricsRegistry().Register(c)
		if _, again := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !again {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
