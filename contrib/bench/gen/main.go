// Command gen is a small SMTP load generator that, unlike smtp-source,
// spreads recipients over a list of users and measures reply latency.
//
//	gen -addr 127.0.0.1:2525 -users FILE -c 20 -m 5000 -l 4096
//
// It prints one JSON object. With -idle N it opens N connections (banner +
// EHLO), prints {"open":n,...}, holds them until stdin is closed, and exits.
package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	addr      = flag.String("addr", "127.0.0.1:2525", "server host:port")
	conc      = flag.Int("c", 1, "parallel connections")
	count     = flag.Int("m", 1, "messages in all")
	size      = flag.Int("l", 4096, "body bytes per message")
	from      = flag.String("from", "sender@example.net", "envelope sender")
	usersFile = flag.String("users", "", "file of local parts, one a line")
	domain    = flag.String("domain", "example.com", "recipient domain")
	rcpts     = flag.Int("r", 1, "recipients per message")
	reconnect = flag.Bool("reconnect", false, "a new connection for every message")
	pipeline  = flag.Bool("pipeline", false, "send MAIL/RCPT/DATA in one write")
	starttls  = flag.Bool("starttls", false, "use STARTTLS (certificate not verified)")
	lmtp      = flag.Bool("lmtp", false, "speak LMTP (LHLO, one reply per recipient)")
	inorder   = flag.Bool("inorder", false, "message i goes to users i*r.. in file order, not shuffled")
	idle      = flag.Int("idle", 0, "open this many idle connections and hold")
	timeout   = flag.Duration("timeout", 60*time.Second, "per-reply timeout")
	rate      = flag.Float64("rate", 0, "messages a second at most, of all connections; 0: as fast as it goes")
	runID     = flag.String("id", "x", "run id put in each message's header")
)

type conn struct {
	c net.Conn
	r *bufio.Reader
	w *bufio.Writer
}

func (k *conn) reply(want int) error {
	k.c.SetReadDeadline(time.Now().Add(*timeout))
	for {
		line, err := k.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) < 4 {
			return fmt.Errorf("short reply %q", line)
		}
		if line[3] == '-' {
			continue
		}
		if int(line[0]-'0') != want {
			return fmt.Errorf("unexpected reply %q", strings.TrimSpace(string(line)))
		}
		return nil
	}
}

func (k *conn) cmd(want int, f string, a ...any) error {
	fmt.Fprintf(k.w, f+"\r\n", a...)
	if err := k.w.Flush(); err != nil {
		return err
	}
	return k.reply(want)
}

// dial tries again when the server resets the connection before its banner,
// as it does where its listen queue is short (OpenSMTPD's is 5).
func dial() (k *conn, err error) {
	for i := 0; i < 40; i++ {
		k, err = dial1()
		if err == nil || !(errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED)) {
			return
		}
		redials.Add(1)
		time.Sleep(time.Duration(5+i) * time.Millisecond)
	}
	return
}

var redials atomic.Int64

func dial1() (*conn, error) {
	c, err := net.DialTimeout("tcp", *addr, *timeout)
	if err != nil {
		return nil, err
	}
	k := &conn{c: c, r: bufio.NewReaderSize(c, 4096), w: bufio.NewWriterSize(c, 32<<10)}
	if err := k.reply(2); err != nil {
		c.Close()
		return nil, fmt.Errorf("banner: %w", err)
	}
	hello := "EHLO"
	if *lmtp {
		hello = "LHLO"
	}
	if err := k.cmd(2, "%s client.example.net", hello); err != nil {
		c.Close()
		return nil, fmt.Errorf("ehlo: %w", err)
	}
	if *starttls {
		if err := k.cmd(2, "STARTTLS"); err != nil {
			c.Close()
			return nil, fmt.Errorf("starttls: %w", err)
		}
		t := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		if err := t.Handshake(); err != nil {
			c.Close()
			return nil, err
		}
		k.c, k.r, k.w = t, bufio.NewReaderSize(t, 4096), bufio.NewWriterSize(t, 32<<10)
		if err := k.cmd(2, "%s client.example.net", hello); err != nil {
			c.Close()
			return nil, err
		}
	}
	return k, nil
}

// send sends one message and returns the end-of-data latency and the latency
// of the whole transaction.
func (k *conn) send(n int, rc []string, body []byte) (eod, txn time.Duration, err error) {
	t0 := time.Now()
	envelope := k.envelope
	if *pipeline {
		envelope = k.pipelined
	}
	if err = envelope(rc); err != nil {
		return
	}
	fmt.Fprintf(k.w, "From: <%s>\r\nTo: <%s@%s>\r\nDate: %s\r\nMessage-Id: <%s.%d@client.example.net>\r\nSubject: bench %d\r\n\r\n",
		*from, rc[0], *domain, t0.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"), *runID, n, n)
	k.w.Write(body)
	k.w.WriteString(".\r\n")
	if err = k.w.Flush(); err != nil {
		return
	}
	t1 := time.Now()
	m := 1
	if *lmtp {
		m = len(rc)
	}
	for range m {
		if err = k.reply(2); err != nil {
			return
		}
	}
	t2 := time.Now()
	return t2.Sub(t1), t2.Sub(t0), nil
}

// envelope says MAIL, RCPT and DATA, and waits for the reply to each.
func (k *conn) envelope(rc []string) error {
	if err := k.cmd(2, "MAIL FROM:<%s>", *from); err != nil {
		return err
	}
	for _, r := range rc {
		if err := k.cmd(2, "RCPT TO:<%s@%s>", r, *domain); err != nil {
			return err
		}
	}
	return k.cmd(3, "DATA")
}

// pipelined says the same in one write.
func (k *conn) pipelined(rc []string) error {
	fmt.Fprintf(k.w, "MAIL FROM:<%s>\r\n", *from)
	for _, r := range rc {
		fmt.Fprintf(k.w, "RCPT TO:<%s@%s>\r\n", r, *domain)
	}
	fmt.Fprintf(k.w, "DATA\r\n")
	if err := k.w.Flush(); err != nil {
		return err
	}
	for range 1 + len(rc) {
		if err := k.reply(2); err != nil {
			return err
		}
	}
	return k.reply(3)
}

func pct(d []time.Duration, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	i := int(p * float64(len(d)-1))
	return float64(d[i].Microseconds()) / 1000
}

func main() {
	flag.Parse()
	if *idle > 0 {
		holdIdle()
		return
	}
	users, err := readUsers()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	l := &load{users: users, body: lines(*size), start: time.Now()}
	var workers sync.WaitGroup
	for range *conc {
		workers.Go(func() {
			w := worker{load: l}
			w.run()
			l.add(&w)
		})
	}
	workers.Wait()
	l.report(time.Now())
}

// readUsers returns the local parts to send to, shuffled unless they are wanted
// in their order.
func readUsers() ([]string, error) {
	users := []string{"u0"}
	if *usersFile != "" {
		b, err := os.ReadFile(*usersFile)
		if err != nil {
			return nil, err
		}
		users = strings.Fields(string(b))
	}
	if !*inorder {
		rand.New(rand.NewSource(1)).Shuffle(len(users), func(i, j int) { users[i], users[j] = users[j], users[i] })
	}
	return users, nil
}

// lines returns n octets of lines.
func lines(n int) []byte {
	line := strings.Repeat("X", 76) + "\r\n"
	body := []byte(strings.Repeat(line, n/len(line)+1))[:n]
	copy(body[len(body)-2:], "\r\n")
	return body
}

// A load is all that is to be sent, and what came of it.
type load struct {
	users []string
	body  []byte
	start time.Time
	next  atomic.Int64 // the message that a worker takes next

	mu            sync.Mutex
	eods, txns    []time.Duration
	acked, failed int
	firstErr      string
}

// A worker is one connection of the load, opened anew when it breaks, and what
// it has seen.
type worker struct {
	*load
	k          *conn
	eods, txns []time.Duration
	failed     int
	firstErr   string
}

// run sends messages as long as there are any.
func (w *worker) run() {
	rc := make([]string, *rcpts)
	for {
		n := int(w.next.Add(1)) - 1
		if n >= *count {
			break
		}
		if *rate > 0 { // each has its time, and what comes late makes nothing later
			time.Sleep(time.Until(w.start.Add(time.Duration(float64(n) / *rate * float64(time.Second)))))
		}
		for j := range rc {
			rc[j] = w.users[(n**rcpts+j)%len(w.users)]
		}
		if err := w.try(n, rc); err != nil {
			w.failed++
			if w.firstErr == "" {
				w.firstErr = err.Error()
			}
			w.close()
		}
	}
	w.quit()
}

// try sends message n, on a new connection if there is none.
func (w *worker) try(n int, rc []string) (err error) {
	begun := time.Now()
	if w.k == nil {
		if w.k, err = dial(); err != nil {
			return err
		}
	}
	eod, txn, err := w.k.send(n, rc, w.body)
	if err != nil {
		return err
	}
	if *reconnect {
		w.quit()
		txn = time.Since(begun)
	}
	w.eods, w.txns = append(w.eods, eod), append(w.txns, txn)
	return nil
}

func (w *worker) quit() {
	if w.k != nil {
		w.k.cmd(2, "QUIT") // whether the server says goodbye changes nothing
	}
	w.close()
}

func (w *worker) close() {
	if w.k != nil {
		w.k.c.Close()
		w.k = nil
	}
}

// add takes over what a worker has seen.
func (l *load) add(w *worker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.eods, l.txns = append(l.eods, w.eods...), append(l.txns, w.txns...)
	l.acked += len(w.eods)
	l.failed += w.failed
	if l.firstErr == "" {
		l.firstErr = w.firstErr
	}
}

// report prints what came of the load, which ended at end.
func (l *load) report(end time.Time) {
	slices.Sort(l.eods)
	slices.Sort(l.txns)
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"acked": l.acked, "failed": l.failed, "error": l.firstErr, "redials": redials.Load(),
		"start": float64(l.start.UnixNano()) / 1e9, "end": float64(end.UnixNano()) / 1e9,
		"secs":    end.Sub(l.start).Seconds(),
		"eod_p50": pct(l.eods, .5), "eod_p99": pct(l.eods, .99), "eod_max": pct(l.eods, 1),
		"txn_p50": pct(l.txns, .5), "txn_p99": pct(l.txns, .99),
		"cpu": float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9,
	})
}

func holdIdle() {
	var open, failed atomic.Int64
	var mu sync.Mutex
	var conns []*conn
	var firstErr string
	sem := make(chan struct{}, 50)
	var wg sync.WaitGroup
	for i := 0; i < *idle && failed.Load() < 20; i++ { // a server that is full stays full
		wg.Add(1)
		sem <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-sem }()
			k, err := dial()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed.Add(1)
				if firstErr == "" {
					firstErr = err.Error()
				}
				return
			}
			open.Add(1)
			conns = append(conns, k)
		}()
	}
	wg.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{"open": open.Load(), "failed": failed.Load(), "error": firstErr, "redials": redials.Load()})
	io.Copy(io.Discard, os.Stdin)
	for _, k := range conns {
		k.c.Close()
	}
}
