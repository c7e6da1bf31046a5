package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	wire "github.com/miekg/dns"
)

// maxWait bounds a question, however many servers are asked. Each has had its
// full time once by then.
const maxWait = 9 * time.Second

// rounds is how often the servers are asked. A datagram may be lost; and a
// recursive server that was still at work when it was asked first has often
// finished when it is asked again.
const rounds = 2

// restartPause is the least time from one round to the next: a server whose
// port is closed is being restarted, with some luck.
const restartPause = time.Second

// probePause is the time between two probes of servers that are silent.
const probePause = time.Second

// resolve asks the servers for q, and keeps what they say.
func (c *Client) resolve(ctx context.Context, q question) outcome {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	asked := time.Now()
	if o, ok := c.cache.get(q, asked); ok {
		return o // a flight has landed since the caller looked
	}
	var failures string
	for range rounds {
		o, heard, err := c.askAll(ctx, q)
		if err == nil {
			c.cache.put(q, o, asked)
			return o
		}
		if failures = err.Error(); heard {
			return c.failed(failures)
		}
		sleep(ctx, time.Until(asked.Add(restartPause)))
	}
	if c.breaker.silence(q.name, asked) {
		_ = c.tasks.start(c.probe) // not if the client is being closed
	}
	return c.failed(failures)
}

func (c *Client) failed(why string) outcome {
	c.counts.failed.Add(1)
	return outcome{err: fmt.Errorf("%w: %s", ErrTemporary, why)}
}

// probe asks for the root until the servers are above suspicion.
func (c *Client) probe(ctx context.Context) {
	for {
		_, _, _ = c.askAll(ctx, question{wire.TypeNS, ""}) // the breaker hears of an answer
		if ctx.Err() != nil || !c.breaker.probed(time.Now()) {
			return
		}
		sleep(ctx, probePause)
	}
}

// askAll asks one server after the other until one decides q. If none does,
// the error says what each of them said, and heard, whether any said a thing.
func (c *Client) askAll(ctx context.Context, q question) (o outcome, heard bool, err error) {
	var failures []string
	for _, server := range c.servers.inOrder(time.Now()) {
		o, answered, err := c.askOne(ctx, server, q)
		if err == nil {
			return o, true, nil
		}
		heard = heard || answered
		failures = append(failures, fmt.Sprintf("%v: %v", server, err))
	}
	return outcome{}, heard, errors.New(strings.Join(failures, "; "))
}

// askOne asks one server, and over TCP if the answer is too long for a datagram:
// by its own account, or because it was cut off.
func (c *Client) askOne(ctx context.Context, server netip.AddrPort, q question) (o outcome, heard bool, err error) {
	c.counts.sent.Add(1)
	m, err := c.exchange(ctx, "udp", server, q)
	heard = err == nil || errors.Is(err, errMalformed)
	c.servers.report(server, heard, time.Now())
	if heard {
		c.breaker.heard(time.Now())
	} else {
		c.counts.silent.Add(1)
	}
	if heard && (err != nil || m.Truncated) {
		c.counts.tcp.Add(1)
		m, err = c.exchange(ctx, "tcp", server, q)
	}
	if err != nil {
		return outcome{}, heard, err
	}
	if m.Rcode == wire.RcodeServerFailure {
		c.counts.servfail.Add(1)
	}
	o, err = interpret(m, q.typ)
	o.authentic = o.authentic && server.Addr().IsLoopback() // anybody could have set it on a longer way
	return o, heard, err
}

// exchange sends q to server, and waits for its answer as long as one is waited
// for. The error is short, for it goes into a log line with others.
func (c *Client) exchange(ctx context.Context, network string, server netip.AddrPort, q question) (*wire.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	m, err := c.send(ctx, network, server, q)
	var errno syscall.Errno
	switch {
	case err == nil:
		return m, nil
	case ctx.Err() != nil:
		err = errors.New("silent")
	case errors.As(err, &errno): // the rest of it are addresses
		err = errno
	}
	return nil, fmt.Errorf("%w over %s", err, network)
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
