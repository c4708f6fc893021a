package dialect

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// Packets of the library mqtt-packet.
const (
	mqttHex311  = "102000044d51545404c2003c000263310003617070000b6533302e6533302e736967"
	mqttHex5    = "103700044d5154540582003c231100000e1015000a4f41555448322d4a575416000b6533302e6533302e73696721000a000263310003617070"
	mqttHexWill = "103f00044d51545405ee003c0c1100000e1026000161000162000263310918000000050300017400017700036279650003617070000b6533302e6533302e736967"
	mqttHexAuth = "f01d191b15000a4f41555448322d4a575416000b6e65772e6533302e736967"
)

// unhex returns the bytes of hexadecimal digits, which may have spaces.
func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMQTTTranscript(t *testing.T) {
	t.Parallel()
	runTranscript(t, "mqtt", fromConfig(NewMQTT))
}

func TestMQTTConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config MQTTConfig
		renew  bool
		wants  string // in the error
	}{
		{"default", MQTTConfig{}, false, ""},
		{"auth_data of any method", MQTTConfig{Credential: "auth_data"}, true, ""},
		{"a method", MQTTConfig{AuthMethod: "OAUTH2-JWT", Pass: "strip"}, true, ""},
		{"unknown place", MQTTConfig{Credential: "topic"}, false, `credential "topic"`},
		{"unknown pass", MQTTConfig{Pass: "consume"}, false, `pass "consume"`},
		{"method with NUL", MQTTConfig{AuthMethod: "a\x00"}, false, "auth_method"},
		{"method that is no UTF-8", MQTTConfig{AuthMethod: "\xff"}, false, "auth_method"},
		{"long method", MQTTConfig{AuthMethod: strings.Repeat("a", 256)}, false, "auth_method"},
	} {
		d, err := NewMQTT(tt.config)
		if tt.wants != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wants) {
				t.Errorf("%s: NewMQTT = %v, want an error with %q", tt.name, err, tt.wants)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: NewMQTT = %v", tt.name, err)
			continue
		}
		if got := d.Traits(); !got.Login || got.Renew != tt.renew || got.Every || got.ServerFirst {
			t.Errorf("%s: Traits = %+v", tt.name, got)
		}
	}
}

// Two brokers may read a CONNECT packet that is not as it must be in two ways:
// the gate would verify one password and the broker take another.
func TestMQTTConnectStrict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, packet string }{
		{"flags of the fixed header", "112000044d51545404c2003c000263310003617070000b6533302e6533302e736967"},
		{"length not minimal", "10a00000044d51545404c2003c000263310003617070000b6533302e6533302e736967"},
		{"reserved flag", "102000044d51545404c3003c000263310003617070000b6533302e6533302e736967"},
		{"will QoS 3", "101400044d515454041e003c00026331000177000101"},
		{"will QoS without will", "100e00044d515454040a003c00026331"},
		{"will retain without will", "100e00044d5154540422003c00026331"},
		{"password without user name", "101100044d5154540442003c000263310001 61"},
		{"bytes behind the password", "102100044d51545404c2003c000263310003617070000b6533302e6533302e73696700"},
		{"password cut off", "101f00044d51545404c2003c000263310003617070000b6533302e6533302e7369"},
		{"field longer than the packet", "102000044d51545404c2003c000263310003617070ffff6533302e6533302e736967"},
		{"user name is no UTF-8", "102000044d51545404c2003c0002633100036170ff000b6533302e6533302e736967"},
		{"user name with NUL", "102000044d51545404c2003c000263310003617000000b6533302e6533302e736967"},
		{"user name with a surrogate", "102000044d51545404c2003c000263310003eda080000b6533302e6533302e736967"},
		{"level of another version", "102000044d51545406c2003c000263310003617070000b6533302e6533302e736967"},
		{"level of a bridge", "102000044d51545484c2003c000263310003617070000b6533302e6533302e736967"},
		{"name of another version", "102200064d514973647004c2003c000263310003617070000b6533302e6533302e736967"},
		{"name in small letters", "102000046d71747404c2003c000263310003617070000b6533302e6533302e736967"},
		{"longer than it says", "101f00044d51545404c2003c000263310003617070000b6533302e6533302e736967"},
		{"shorter than it says", "102100044d51545404c2003c000263310003617070000b6533302e6533302e736967"},
		{"nothing", "1000"},
		{"property twice", "101900044d5154540502003c0a 1100000001 1100000002 00026331"},
		{"unknown property", "101100044d5154540502003c027f00 0002 6331"},
		{"property of another packet", "101200044d5154540502003c03 130001 00026331"},
		{"method twice", "101700044d5154540502003c08 15000161 15000162 00026331"},
		{"data without method", "101300044d5154540502003c04 16000161 00026331"},
		{"properties longer than the packet", "100f00044d5154540502003c7f 00026331"},
		{"property across the end of the properties", "101400044d5154540502003c03 1100000001 00026331"},
		{"length of properties not minimal", "101000044d5154540502003c8000 00026331"},
		{"will property in the packet's", "101400044d5154540502003c05 1800000005 00026331"},
	} {
		if p, err := parseMQTTConnect(unhex(t, tt.packet)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: parseMQTTConnect = %+v, %v, want ErrProtocol", tt.name, p, err)
		}
	}
}

// The packets above are wrong in one thing each.
func TestMQTTConnectReads(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, packet, user, password, method, data string }{
		{"3.1.1", mqttHex311, "app", "e30.e30.sig", "", ""},
		{"5.0 with a will", mqttHexWill, "app", "e30.e30.sig", "", ""},
		{"5.0 with enhanced authentication", mqttHex5, "app", "", "OAUTH2-JWT", "e30.e30.sig"},
		{"5.0 without properties", "101000044d5154540502003c00 0003633131", "", "", "", ""},
		{"5.0 with a password alone", "101200044d5154540542003c00 00026331 000161", "", "a", "", ""},
		{"user property twice", "101d00044d5154540502003c0e 26000161000162 26000161000163 00026331", "", "", "", ""},
	} {
		p, err := parseMQTTConnect(unhex(t, tt.packet))
		if err != nil {
			t.Errorf("%s: parseMQTTConnect: %v", tt.name, err)
			continue
		}
		if string(p.user.value) != tt.user || string(p.password.value) != tt.password ||
			string(p.enhanced.method.value) != tt.method || string(p.enhanced.data.value) != tt.data {
			t.Errorf("%s: parseMQTTConnect = user %q, password %q, method %q, data %q", tt.name,
				p.user.value, p.password.value, p.enhanced.method.value, p.enhanced.data.value)
		}
	}
}

// What is written must be read as it was, without what was taken out.
func TestMQTTConnectWithout(t *testing.T) {
	t.Parallel()
	both := "103c00044d51545405c2003c1b 16000b6533302e6533302e736967 15000a4f41555448322d4a5754 00026331 0003617070 000b6533302e6533302e736967"
	for _, packet := range []string{mqttHex311, mqttHex5, mqttHexWill, both} {
		for drop := range 8 {
			user, password, method := drop&1 != 0, drop&2 != 0, drop&4 != 0
			p, err := parseMQTTConnect(unhex(t, packet))
			if err != nil {
				t.Fatal(err)
			}
			q, err := parseMQTTConnect(p.without(user, password, method))
			if err != nil {
				t.Errorf("%s without %03b: %v", packet, drop, err)
				continue
			}
			if drop == 0 && !bytes.Equal(q.body, p.body) {
				t.Errorf("%s: %x is another packet", packet, q.body)
			}
			if user && len(q.user.value) > 0 || password && q.password.is() || method && (q.enhanced.method.is() || q.enhanced.data.is()) {
				t.Errorf("%s without %03b still has it: %x", packet, drop, q.body)
			}
			if !user && !bytes.Equal(q.user.value, p.user.value) || !password && !bytes.Equal(q.password.value, p.password.value) ||
				!method && !bytes.Equal(q.enhanced.data.value, p.enhanced.data.value) {
				t.Errorf("%s without %03b lacks something else: %x", packet, drop, q.body)
			}
		}
	}
}

func TestMQTTBorders(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, stream string
		wants        bool
	}{
		{"nothing", "", true},
		{"packets", "20020000 d000", true},
		{"type alone", "d0", false},
		{"body begun", "3005000174", false},
		{"length of four bytes", "3080808000", true},
		{"length of five bytes", "308080808000", false},
		{"and what follows", "308080808000d000", false},
	} {
		s := newDialect(t, NewMQTT, MQTTConfig{}).Start(Opening{}).(Skipper)
		s.Follow(unhex(t, tt.stream))
		if got := s.AtBorder(); got != tt.wants {
			t.Errorf("%s: AtBorder = %v, want %v", tt.name, got, tt.wants)
		}
	}
}

func TestMQTTAuthStrict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, packet string
		wants        bool
	}{
		{"re-authenticate", mqttHexAuth, true},
		{"empty", "f000", true},
		{"flags", "f11d191b15000a4f41555448322d4a575416000b6e65772e6533302e736967", false},
		{"reason alone", "f00119", false},
		{"data twice", "f00e190c 15000161 16000161 16000162", false},
		{"data without method", "f0061904 16000161", false},
		{"bytes behind", "f00719 04 15000161 00", false},
		{"property of CONNECT", "f0071905 1100000001", false},
	} {
		if _, err := parseMQTTAuth(unhex(t, tt.packet)); (err == nil) != tt.wants {
			t.Errorf("%s: parseMQTTAuth: %v", tt.name, err)
		}
	}
}

func TestMQTTSplits(t *testing.T) {
	t.Parallel()
	d := newDialect(t, NewMQTT, MQTTConfig{Credential: "auth_data"})
	password := newDialect(t, NewMQTT, MQTTConfig{})
	checkByByte(t, password, true, unhex(t, mqttHex311), "e30.e30.sig")
	checkByByte(t, d, true, unhex(t, mqttHex5), "e30.e30.sig")
	for _, stream := range mqttStreams {
		checkSplits(t, d, true, unhex(t, stream))
		checkSplits(t, password, true, unhex(t, stream))
	}
}

// mqttStreams are streams of a client's.
var mqttStreams = []string{
	mqttHex311 + "c000 30050001746869 8206000100017400 e000",
	mqttHex5 + mqttHexAuth + "c000 c000" + mqttHexAuth,
	mqttHexWill + "30 8101" + strings.Repeat("61", 129) + "c000",
	"c000", "10ffffffff7f", "30ffffffffff", "1000", "f000", "20020000d000",
}

// A first packet that says it is longer than any login must not be waited for,
// nor kept.
func TestMQTTLoginTooLong(t *testing.T) {
	t.Parallel()
	s := newDialect(t, NewMQTT, MQTTConfig{}).Start(Opening{})
	data := append(unhex(t, "10ffffff7f"), make([]byte, 4<<10)...)
	for sent := 0; ; sent += len(data) {
		_, err := s.Client(Pending, proxy.Message{Binary: true, Data: data})
		if errors.Is(err, ErrProtocol) && sent > 0 {
			return
		}
		if err != nil || sent > 2*maxHeldUnit {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
	}
}

// So it is on a socket that is open already.
func TestMQTTConnectTooLongWhenOpen(t *testing.T) {
	t.Parallel()
	s := newDialect(t, NewMQTT, MQTTConfig{}).Start(Opening{})
	data := append(unhex(t, "10ffffff7f"), make([]byte, 40<<10)...)
	first, err := s.Client(Open, proxy.Message{Binary: true, Data: data})
	if err != nil || len(first) != 0 {
		t.Fatalf("first message: %v, %v", first, err)
	}
	if second, err := s.Client(Open, proxy.Message{Binary: true, Data: data[5:]}); !errors.Is(err, ErrProtocol) {
		t.Fatalf("second message: %d parts, %v", len(second), err)
	}
}

func TestMQTTLongPublish(t *testing.T) {
	t.Parallel()
	s := newDialect(t, NewMQTT, MQTTConfig{Credential: "auth_data"}).Start(Opening{}).(Skipper)
	if _, err := s.Client(Pending, proxy.Message{Binary: true, Data: unhex(t, mqttHex5)}); err != nil {
		t.Fatal(err)
	}
	streamEndless(t, s, true, unhex(t, "30ffffff7f"))
}

// A message that is too long to be read may end inside a packet: what follows
// must still be read as what it is.
func TestMQTTSkip(t *testing.T) {
	t.Parallel()
	s := newDialect(t, NewMQTT, MQTTConfig{Credential: "auth_data", Pass: "strip"}).Start(Opening{}).(Skipper)
	if _, err := s.Client(Pending, proxy.Message{Binary: true, Data: unhex(t, mqttHex5)}); err != nil {
		t.Fatal(err)
	}
	if err := s.SkipClient(Open, unhex(t, "c000 3004 0001")); err != nil {
		t.Fatal(err)
	}
	auth := append(unhex(t, "7474"), unhex(t, mqttHexAuth)...)
	parts, err := s.Client(Open, proxy.Message{Binary: true, Data: auth})
	if err != nil || len(parts) != 2 || parts[1].Credential != "new.e30.sig" || !parts[1].Nothing {
		t.Fatalf("Client after SkipClient = %+v, %v", parts, err)
	}
	if err := s.SkipClient(Open, unhex(t, mqttHexAuth)); !errors.Is(err, ErrProtocol) {
		t.Errorf("SkipClient with a credential: %v, want ErrProtocol", err)
	}
}

// What is held unread of the application's must not make its payload look like
// packets.
func TestMQTTSkipApp(t *testing.T) {
	t.Parallel()
	s := newDialect(t, NewMQTT, MQTTConfig{}).Start(Opening{}).(Skipper)
	s.Follow(unhex(t, "20020000"))
	s.SkipApp(unhex(t, "30050001"))
	m := proxy.Message{Binary: true, Data: unhex(t, "74d000 d000")}
	parts, err := s.App(Suspended, m)
	if err != nil || len(parts) != 2 || !bytes.Equal(parts[0].Message.Data, m.Data[:3]) || parts[1].Kind != KeepAlive {
		t.Errorf("App after SkipApp = %+v, %v", parts, err)
	}
}

// All methods of a speaker may run at the same time.
func TestMQTTConcurrent(t *testing.T) {
	t.Parallel()
	s := newDialect(t, NewMQTT, MQTTConfig{Credential: "auth_data"}).Start(Opening{}).(Skipper)
	client, app := unhex(t, mqttStreams[1]), unhex(t, "20020000d00030050001746869")
	var wg sync.WaitGroup
	for _, f := range []func(){
		func() { _, _ = s.Client(Suspended, proxy.Message{Binary: true, Data: client}) },
		func() { _, _ = s.App(Suspended, proxy.Message{Binary: true, Data: app}) },
		func() { s.Follow(app); s.AtBorder(); s.Idle() },
		func() { s.Say(Renewed, Facts{Context: mqttAuthContext{}}); s.Say(Expired, Facts{}) },
	} {
		wg.Go(func() {
			for range 200 {
				f()
			}
		})
	}
	wg.Wait()
}

func FuzzMQTT(f *testing.F) {
	for _, stream := range mqttStreams {
		f.Add(unhex(f, stream), 3)
	}
	dialects := []Dialect{
		newDialect(f, NewMQTT, MQTTConfig{}),
		newDialect(f, NewMQTT, MQTTConfig{Credential: "auth_data"}),
		newDialect(f, NewMQTT, MQTTConfig{Credential: "username", AuthMethod: "OAUTH2-JWT"}),
	}
	strip := newDialect(f, NewMQTT, MQTTConfig{Pass: "strip"})
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		cut = int(uint(cut) % uint(len(data)+1))
		for _, d := range dialects {
			checkStream(t, d, true, data, cut)
		}
		if p, err := parseMQTTConnect(data); err == nil {
			if run := runStream(t, strip, Pending, true, data); run.verdict != "login" {
				t.Fatalf("%x is %s", data, run.verdict)
			} else if q, err := parseMQTTConnect(run.out); err != nil || q.password.is() || !bytes.Equal(q.user.value, p.user.value) {
				t.Fatalf("%x without password: %x, %v", data, run.out, err)
			}
		}
	})
}
