package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

// tlsPair is tcpPair with TLS over it: its reads cannot be waited for without
// a buffer, and its write deadline spoils it for good.
func tlsPair(t *testing.T) func() (a, b net.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return func() (a, b net.Conn) {
		a, b = tcpPair(t)()
		server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		client := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		shaken := make(chan error, 1)
		go func() { shaken <- server.Handshake() }()
		if err := errors.Join(client.Handshake(), <-shaken); err != nil {
			t.Fatal(err)
		}
		return server, client
	}
}

// overSockets runs f over real connections, plain and TLS, one after another:
// most of those tests take all the processor they can get.
func overSockets(t *testing.T, f func(t *testing.T, o rigOptions)) {
	t.Helper()
	for name, pair := range map[string]func() (a, b net.Conn){"TCP": tcpPair(t), "TLS": tlsPair(t)} {
		t.Run(name, func(t *testing.T) {
			for mode, o := range map[string]rigOptions{
				"WriteTo and ReadFrom":         {pair: pair},
				"Read and Write":               {pair: pair, plain: true},
				"Read and Write, small buffer": {pair: pair, plain: true, buffer: 100},
			} {
				t.Run(mode, func(t *testing.T) { f(t, o) })
			}
		})
	}
}

// flood writes p to c until it fails or stop is closed, and then last.
func flood(c net.Conn, p []byte, stop <-chan struct{}, last []byte) {
	for {
		select {
		case <-stop:
			_, _ = c.Write(last)
			return
		default:
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}
}

// readUntilClose returns the first close frame and how the connection ends
// after it.
func readUntilClose(r *bufio.Reader, closed func()) (payload []byte, end error) {
	for {
		first, _, payload, err := readFrame(r)
		if err != nil {
			return nil, err
		}
		if first != finClose {
			continue
		}
		closed()
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			return payload, errors.Join(errors.New("after the close frame"), err)
		}
		return payload, nil
	}
}

// A client that sends as fast as it can reads the close frame and then the
// end: a connection that is closed with unread data is reset, and a reset
// destroys what is on its way. RFC 6455 section 7.1.1.
func TestFloodingClientReadsTheCloseFrame(t *testing.T) {
	overSockets(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		stop := make(chan struct{})
		go flood(r.client, fromClient(finText, string(make([]byte, 1000))), stop, answerClose)
		counted := make(chan struct{})
		var closes int
		var wg sync.WaitGroup
		wg.Go(func() {
			started := sync.OnceFunc(func() { close(counted) })
			for n := 0; ; n++ {
				first, masked, payload, err := readFrame(r.appFrames)
				if err != nil {
					started()
					return
				}
				if n == 50 {
					started()
				}
				if first == finClose && masked && string(payload) == closePayload(CloseGoingAway, "") {
					closes++
					_, _ = r.app.Write(fromApp(finClose, ""))
				}
			}
		})
		<-counted
		r.gate.End(expired)
		payload, err := readUntilClose(r.clientFrames, func() { close(stop) })
		if err != nil || string(payload) != closePayload(3000, "token expired") {
			t.Errorf("the client read %q, %v", payload, err)
		}
		r.endsWith("expired")
		r.app.Close()
		wg.Wait()
		if closes != 1 {
			t.Errorf("the application got %d close frames, want 1", closes)
		}
	})
}

// The same for a client that has broken the protocol: nobody can tell any more
// where its frames begin, so that its answer cannot be seen.
func TestFloodOfGarbageStillReadsTheCloseFrame(t *testing.T) {
	overSockets(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = readUntilClose(r.appFrames, func() { r.app.Close() }) })
		wg.Go(func() {
			flood(r.client, []byte("GET /internal HTTP/1.1\r\nHost: localhost\r\n\r\n"), stop, answerClose)
		})
		payload, err := readUntilClose(r.clientFrames, func() { close(stop) })
		if err != nil || string(payload) != closePayload(CloseProtocolError, ErrReservedOpcode.Error()) {
			t.Errorf("the client read %q, %v", payload, err)
		}
		r.client.Close()
		r.endsWith(CauseClientBroke)
		r.app.Close()
		wg.Wait()
	})
}

// An application that sends as fast as it can reads its close frame, too, and
// the client reads whole frames before its own.
func TestFloodingApplicationReadsTheCloseFrame(t *testing.T) {
	overSockets(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		stop := make(chan struct{})
		go flood(r.app, fromApp(finBinary, string(make([]byte, 3000))), stop, fromApp(finClose, closePayload(CloseGoingAway, "")))
		var wg sync.WaitGroup
		wg.Go(func() {
			first, masked, payload, err := readFrame(r.appFrames)
			if err != nil || first != finClose || !masked || string(payload) != closePayload(CloseGoingAway, "") {
				t.Errorf("the application read %X, %v, %q, %v", first, masked, payload, err)
			}
			close(stop)
		})
		for range 50 {
			if first, _, payload, err := readFrame(r.clientFrames); err != nil || first != finBinary || len(payload) != 3000 {
				t.Fatalf("frame %X of %d bytes, %v", first, len(payload), err)
			}
		}
		r.gate.End(expired)
		payload, err := readUntilClose(r.clientFrames, func() { _, _ = r.client.Write(answerClose) })
		if err != nil || string(payload) != closePayload(3000, "token expired") {
			t.Errorf("the client read %q, %v", payload, err)
		}
		wg.Wait()
		r.endsWith("expired")
	})
}

// The same for one that has broken the protocol.
func TestFloodOfGarbageFromTheApplication(t *testing.T) {
	overSockets(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { flood(r.app, []byte("garbage of which no frame can be made"), stop, nil) })
		wg.Go(func() {
			if _, err := readUntilClose(r.clientFrames, func() { _, _ = r.client.Write(answerClose) }); err != nil {
				t.Errorf("the client read %v", err)
			}
		})
		first, masked, payload, err := readFrame(r.appFrames)
		if err != nil || first != finClose || !masked || string(payload) != closePayload(CloseProtocolError, "") {
			t.Errorf("the application read %X, %v, %q, %v", first, masked, payload, err)
		}
		close(stop)
		wg.Wait()
		r.app.Close()
		r.endsWith(CauseUpstreamBroke)
	})
}

// End while the client is in the middle of a frame and reads through what
// wakes it: the read must be able to go on after its deadline was moved.
func TestEndInFrameOfClientOverSockets(t *testing.T) {
	overSockets(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		frame := fromClient(finText, "a frame that is cut in the middle")
		r.sends(r.client, frame[:12])
		r.appGets(frame[:12])
		r.gate.End(expired)
		r.clientGetsClose(3000, "token expired")
		r.sends(r.client, frame[12:], fromClient(finText, "more"), answerClose)
		r.appGets(frame[12:])
		r.appGetsClose(CloseGoingAway)
		r.clientGone()
		r.app.Close()
		r.endsWith("expired")
	})
}

// Ends in all moments: what each side reads is whole frames, then one close
// frame, then the end.
func TestEndAtAnyMoment(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		pair := tcpPair(t)
		for i := range 8 {
			r, _ := newRig(t, rigOptions{pair: pair, plain: plain, buffer: 700})
			stop := make(chan struct{})
			answered := sync.OnceFunc(func() { close(stop) })
			var wg sync.WaitGroup
			wg.Go(func() { flood(r.client, fromClient(finText, string(make([]byte, 600))), stop, answerClose) })
			told := make(chan struct{})
			wg.Go(func() { flood(r.app, fromApp(finText, string(make([]byte, 600))), told, fromApp(finClose, "")) })
			wg.Go(func() {
				defer close(told)
				for n := 0; ; n++ {
					first, masked, payload, err := readFrame(r.appFrames)
					if err != nil {
						t.Errorf("the application read %v before a close frame", err)
						return
					}
					if n == i {
						r.gate.End(expired)
					}
					if first == finClose {
						break
					}
					if first != finText || !masked || len(payload) != 600 {
						t.Errorf("the application read frame %X of %d bytes", first, len(payload))
						return
					}
				}
			})
			payload, err := readUntilClose(r.clientFrames, answered)
			if err != nil || string(payload) != closePayload(3000, "token expired") {
				t.Errorf("the client read %q, %v", payload, err)
			}
			answered()
			r.endsWith("expired")
			r.client.Close()
			r.app.Close()
			wg.Wait()
		}
	}
}
