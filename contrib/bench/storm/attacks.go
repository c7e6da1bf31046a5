package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// An attack is one way to do harm.
type attack struct {
	clients int
	net     int           // the second octet of the clients' addresses
	perNet  int           // how many of them are in one /24
	pause   time.Duration // between two connections of a client
	do      func(ctx context.Context, c *conn) (code int)
}

// attacks are what hostile clients do. Each returns the last code that it heard.
var attacks = map[string]attack{
	"early talker":      {10, 101, 5, 100 * time.Millisecond, earlyTalker},
	"flood":             {20, 102, 20, 20 * time.Millisecond, func(context.Context, *conn) int { return -1 }},
	"hoard":             {200, 103, 200, time.Second, func(ctx context.Context, c *conn) int { return hold(ctx, c, c.reply()) }},
	"slow command":      {50, 104, 25, time.Second, slowly("MAIL FROM:<storm@example.net> SIZE=1000")},
	"slow text":         {50, 105, 25, time.Second, slowText},
	"slow reader":       {20, 106, 10, time.Second, slowReader},
	"harvest":           {10, 107, 1, time.Second, harvest},
	"endless command":   {5, 108, 5, 500 * time.Millisecond, endless("MAIL FROM:<", "x", 4<<20)},
	"endless field":     {3, 109, 3, 500 * time.Millisecond, inData("X: ", "x", 20<<20)},
	"endless header":    {3, 110, 3, 500 * time.Millisecond, inData("", "X-Field: some text that is a field\r\n", 20<<20)},
	"endless message":   {2, 111, 2, time.Second, inData("Subject: x\r\n\r\n", "some text that goes on and on\r\n", 120<<20)},
	"transactions":      {5, 112, 5, 500 * time.Millisecond, transactions},
	"TLS, silent":       {50, 113, 25, time.Second, halfTLS("")},
	"TLS, half a hello": {50, 114, 25, time.Second, halfTLS("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")},
	"TLS, noise":        {5, 115, 5, 200 * time.Millisecond, halfTLS(strings.Repeat("\xff\x00noise", 1000))},
	"TLS, injection":    {5, 116, 5, 200 * time.Millisecond, injection},
	"noise":             {5, 117, 5, 200 * time.Millisecond, noise},
	"hang-up in text":   {5, 118, 5, 200 * time.Millisecond, hangUp},
}

// hold waits until the server has enough, or the storm is over.
func hold(ctx context.Context, c *conn, code int) int {
	for ctx.Err() == nil {
		next := c.reply()
		if next == 0 {
			return code
		}
		code = next
	}
	return code
}

func hello(c *conn) bool { return c.reply() == 220 && c.ask("EHLO storm.example.net") == 250 }

func earlyTalker(ctx context.Context, c *conn) int {
	_, _ = c.Write([]byte("EHLO storm.example.net\r\nMAIL FROM:<storm@example.net>\r\nRCPT TO:<" + fmt.Sprintf(*to, 0) + ">\r\nRSET\r\nQUIT\r\n"))
	return hold(ctx, c, 0)
}

// slowly says a command, one octet a second.
func slowly(command string) func(context.Context, *conn) int {
	return func(ctx context.Context, c *conn) int {
		if !hello(c) {
			return 0
		}
		trickle(ctx, c, strings.Repeat(command, 100))
		return hold(ctx, c, 250)
	}
}

func trickle(ctx context.Context, c *conn, text string) {
	for i := 0; i < len(text) && ctx.Err() == nil; i++ {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
		pauseFor(ctx, time.Second)
	}
}

// toData speaks up to the 354.
func toData(c *conn) bool {
	return hello(c) && c.ask("MAIL FROM:<storm@example.net>") == 250 && c.ask("RCPT TO:<"+fmt.Sprintf(*to, 1)+">") == 250 && c.ask("DATA") == 354
}

func slowText(ctx context.Context, c *conn) int {
	if !toData(c) {
		return 0
	}
	trickle(ctx, c, strings.Repeat("Subject: slow\r\n", 1000))
	return hold(ctx, c, 354)
}

// slowReader asks much and reads nothing.
func slowReader(ctx context.Context, c *conn) int {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4096)
	}
	for range 2000 {
		if _, err := c.Write([]byte(strings.Repeat("EHLO storm.example.net\r\n", 100))); err != nil {
			return 0
		}
	}
	return hold(ctx, c, 250)
}

func harvest(ctx context.Context, c *conn) int {
	if !hello(c) || c.ask("MAIL FROM:<storm@example.net>") != 250 {
		return 0
	}
	for code := 0; ; {
		next := c.ask(fmt.Sprintf("RCPT TO:<%x@example.com>", rand.Uint32()))
		if next == 0 || ctx.Err() != nil {
			return code
		}
		code = next
	}
}

// endless says a command that does not end.
func endless(start, more string, octets int) func(context.Context, *conn) int {
	return func(ctx context.Context, c *conn) int {
		if !hello(c) {
			return 0
		}
		write(ctx, c, start, more, octets)
		return hold(ctx, c, 250)
	}
}

func write(ctx context.Context, c *conn, start, more string, octets int) {
	_, _ = c.Write([]byte(start))
	piece := []byte(strings.Repeat(more, 32<<10/len(more)))
	for n := 0; n < octets && ctx.Err() == nil; n += len(piece) {
		if _, err := c.Write(piece); err != nil {
			return
		}
	}
}

// inData sends a text that does not end for long.
func inData(start, more string, octets int) func(context.Context, *conn) int {
	return func(ctx context.Context, c *conn) int {
		if !toData(c) {
			return 0
		}
		write(ctx, c, start, more, octets)
		return c.ask("\r\n.")
	}
}

func transactions(ctx context.Context, c *conn) int {
	if !hello(c) {
		return 0
	}
	code := 0
	for n := 0; n < 2000 && ctx.Err() == nil; n++ {
		batch := strings.Repeat("MAIL FROM:<storm@example.net>\r\nRCPT TO:<"+fmt.Sprintf(*to, 2)+">\r\nRSET\r\n", 10)
		if _, err := c.Write([]byte(batch)); err != nil {
			return code
		}
		for range 30 {
			if next := c.reply(); next != 0 {
				code = next
			}
		}
	}
	return code
}

// halfTLS says STARTTLS and then no more than this.
func halfTLS(octets string) func(context.Context, *conn) int {
	return func(ctx context.Context, c *conn) int {
		if !hello(c) || c.ask("STARTTLS") != 220 {
			return 0
		}
		_, _ = c.Write([]byte(octets))
		return hold(ctx, c, 220)
	}
}

func injection(ctx context.Context, c *conn) int {
	if !hello(c) {
		return 0
	}
	_, _ = c.Write([]byte("STARTTLS\r\nMAIL FROM:<storm@example.net>\r\n"))
	return hold(ctx, c, 0)
}

func noise(ctx context.Context, c *conn) int {
	if c.reply() != 220 {
		return 0
	}
	octets := make([]byte, 16<<10)
	for i := range octets {
		octets[i] = byte(rand.Uint32())
	}
	_, _ = c.Write(octets)
	return hold(ctx, c, 0)
}

func hangUp(ctx context.Context, c *conn) int {
	if !toData(c) {
		return 0
	}
	write(ctx, c, "Subject: x\r\n\r\n", "text\r\n", 1<<20)
	return 354
}
