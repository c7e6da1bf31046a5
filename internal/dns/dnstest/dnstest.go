// Package dnstest is a DNS server for tests, which serves a dns.Zone over real
// sockets on loopback, and can be told to be sick, slow or a liar.
//
//	s := dnstest.Start(t, dns.Zone{"TXT good.example": {"v=spf1 -all"}})
//	c, err := dns.NewClient(dns.Config{Servers: []string{s.Addr}})
//
// It answers as a recursive server does: with the aliases that lead to a record,
// and with an SOA record where there is none.
package dnstest

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"postern/internal/dns"
)

// A Mood is how a Server treats questions.
type Mood int

// The moods. A liar sends something that is not the answer, with records that
// are false, and the true answer after it.
const (
	Honest        Mood = iota
	Silent             // no answer at all
	ServFail           // "I could not find out"
	Refused            // "not for you"
	Lame               // an empty answer by a server that asks no others
	NoSOA              // true answers, but nothing says how long an absence lasts
	Truncating         // over UDP, every answer is too long
	TCPOnly            // the same, and over TCP there is silence
	Oversized          // over UDP, answers are longer than the client takes
	Malformed          // the answer ends in the middle of a record
	WrongID            // lies with another ID
	WrongQuestion      // lies in answer to another question
	WrongSource        // lies from another port
	Garbage            // sends octets that are no message, then the answer
)

// A Server serves a Zone. Its methods may be called while it does.
type Server struct {
	// Addr is where it listens, by UDP and by TCP: "127.0.0.1:port".
	Addr string

	mu           sync.Mutex
	zone         dns.Zone
	mood         Mood
	delay        time.Duration
	ttl, minimum uint32
	asked        []string
	overTCP      int
}

// Start starts a server that serves zone until the test ends. The records have
// a TTL of 300 s, and their absence one of 60 s.
func Start(t testing.TB, zone dns.Zone) *Server {
	t.Helper()
	pc, l, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: l.Addr().String(), zone: zone, ttl: 300, minimum: 60}
	for _, srv := range []*wire.Server{{PacketConn: pc}, {Listener: l}} {
		started := make(chan struct{})
		srv.Handler = wire.HandlerFunc(s.serve)
		srv.NotifyStartedFunc = func() { close(started) }
		var done sync.WaitGroup
		done.Go(func() {
			if err := srv.ActivateAndServe(); err != nil {
				t.Errorf("dnstest: %v", err)
			}
		})
		<-started
		t.Cleanup(func() {
			_ = srv.Shutdown()
			done.Wait()
		})
	}
	return s
}

// listen returns sockets for UDP and TCP with the same port, which may take a
// few attempts.
func listen() (net.PacketConn, net.Listener, error) {
	var errs []error
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return pc, l, nil
		}
		errs = append(errs, err, l.Close())
	}
	return nil, nil, errors.Join(errs...)
}

// Serve makes the server serve zone from now on.
func (s *Server) Serve(zone dns.Zone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = zone
}

// Be gives the server a mood.
func (s *Server) Be(mood Mood) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mood = mood
}

// Delay makes the server wait before it answers.
func (s *Server) Delay(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = d
}

// TTL sets the times, in seconds, for which records and their absence hold.
func (s *Server) TTL(records, absence uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ttl, s.minimum = records, absence
}

// Asked returns the questions that have been received, as "TXT good.example".
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// OverTCP returns how many of the questions came over TCP.
func (s *Server) OverTCP() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overTCP
}

func (s *Server) serve(w wire.ResponseWriter, query *wire.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	asked := questionOf(query)
	s.mu.Lock()
	s.asked = append(s.asked, asked.typ+" "+asked.name)
	if tcp {
		s.overTCP++
	}
	a := answerer{mood: s.mood, tcp: tcp, zone: s.zone, ttl: s.ttl, minimum: s.minimum}
	delay := s.delay
	s.mu.Unlock()
	time.Sleep(delay)
	if a.mood == WrongSource && !tcp {
		fromElsewhere(w.RemoteAddr(), pack(a.lie(query, asked)))
	}
	for _, octets := range a.answers(query, asked) {
		_, _ = w.Write(octets) // a client that has gone misses nothing
	}
}
