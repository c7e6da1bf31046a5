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
	"sort"
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
	if *pipeline {
		fmt.Fprintf(k.w, "MAIL FROM:<%s>\r\n", *from)
		for _, r := range rc {
			fmt.Fprintf(k.w, "RCPT TO:<%s@%s>\r\n", r, *domain)
		}
		fmt.Fprintf(k.w, "DATA\r\n")
		if err = k.w.Flush(); err != nil {
			return
		}
		if err = k.reply(2); err != nil {
			return
		}
		for range rc {
			if err = k.reply(2); err != nil {
				return
			}
		}
		if err = k.reply(3); err != nil {
			return
		}
	} else {
		if err = k.cmd(2, "MAIL FROM:<%s>", *from); err != nil {
			return
		}
		for _, r := range rc {
			if err = k.cmd(2, "RCPT TO:<%s@%s>", r, *domain); err != nil {
				return
			}
		}
		if err = k.cmd(3, "DATA"); err != nil {
			return
		}
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
	for i := 0; i < m; i++ {
		if err = k.reply(2); err != nil {
			return
		}
	}
	t2 := time.Now()
	return t2.Sub(t1), t2.Sub(t0), nil
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
	var users []string
	if *usersFile != "" {
		b, err := os.ReadFile(*usersFile)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		users = strings.Fields(string(b))
	} else {
		users = []string{"u0"}
	}
	if !*inorder {
		rand.New(rand.NewSource(1)).Shuffle(len(users), func(i, j int) { users[i], users[j] = users[j], users[i] })
	}
	line := strings.Repeat("X", 76) + "\r\n"
	body := []byte(strings.Repeat(line, *size/len(line)+1))[:*size]
	copy(body[len(body)-2:], "\r\n")

	var next, acked, failed atomic.Int64
	eods := make([][]time.Duration, *conc)
	txns := make([][]time.Duration, *conc)
	var wg sync.WaitGroup
	var errMu sync.Mutex
	var firstErr string
	start := time.Now()
	for g := 0; g < *conc; g++ {
		wg.Add(1)
		go func(g int) {
			defer wg.Done()
			var k *conn
			rc := make([]string, *rcpts)
			for {
				n := int(next.Add(1)) - 1
				if n >= *count {
					break
				}
				if *rate > 0 { // each has its time, and what comes late makes nothing later
					time.Sleep(time.Until(start.Add(time.Duration(float64(n) / *rate * float64(time.Second)))))
				}
				for j := range rc {
					rc[j] = users[(n**rcpts+j)%len(users)]
				}
				t0 := time.Now()
				var err error
				if k == nil {
					k, err = dial()
				}
				var e, t time.Duration
				if err == nil {
					e, t, err = k.send(n, rc, body)
				}
				if err != nil {
					failed.Add(1)
					errMu.Lock()
					if firstErr == "" {
						firstErr = err.Error()
					}
					errMu.Unlock()
					if k != nil {
						k.c.Close()
						k = nil
					}
					continue
				}
				acked.Add(1)
				eods[g] = append(eods[g], e)
				if *reconnect {
					k.cmd(2, "QUIT")
					k.c.Close()
					k = nil
					t = time.Since(t0)
				}
				txns[g] = append(txns[g], t)
			}
			if k != nil {
				k.cmd(2, "QUIT")
				k.c.Close()
			}
		}(g)
	}
	wg.Wait()
	end := time.Now()
	var E, T []time.Duration
	for g := range eods {
		E = append(E, eods[g]...)
		T = append(T, txns[g]...)
	}
	sort.Slice(E, func(i, j int) bool { return E[i] < E[j] })
	sort.Slice(T, func(i, j int) bool { return T[i] < T[j] })
	var ru syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"acked": acked.Load(), "failed": failed.Load(), "error": firstErr, "redials": redials.Load(),
		"start": float64(start.UnixNano()) / 1e9, "end": float64(end.UnixNano()) / 1e9,
		"secs":    end.Sub(start).Seconds(),
		"eod_p50": pct(E, .5), "eod_p99": pct(E, .99), "eod_max": pct(E, 1),
		"txn_p50": pct(T, .5), "txn_p99": pct(T, .99),
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
