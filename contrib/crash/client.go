package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"time"
)

// A Client speaks LMTP (RFC 2033), just as much as is needed here.
type Client struct {
	conn net.Conn
	in   *bufio.Reader
}

// patience is how long the daemon may take for anything.
const patience = time.Minute

func dial(socket string) (*Client, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	c := &Client{conn, bufio.NewReader(conn)}
	if err := c.expect("220"); err != nil {
		return nil, err
	}
	fmt.Fprint(conn, "LHLO client.example\r\n")
	if err := c.expect("250"); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) Close() { c.conn.Close() }

// reply reads one reply and returns its last line.
func (c *Client) reply() (string, error) {
	c.conn.SetDeadline(time.Now().Add(patience))
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if len(line) > 3 && line[3] != '-' {
			return strings.TrimSpace(line), nil
		}
	}
}

func (c *Client) expect(code string) error {
	reply, err := c.reply()
	if err == nil && !strings.HasPrefix(reply, code) {
		err = fmt.Errorf("the daemon says %s where %s was expected", reply, code)
	}
	return err
}

// Send sends a message, and calls acked for each recipient whose 250 was read,
// at once. It returns those that were put off by a 4xx; a 5xx is an error, for
// nothing here is to be refused.
func (c *Client) Send(id string, to []string, acked func(to string) error) (putOff []string, err error) {
	fmt.Fprint(c.conn, "MAIL FROM:<lab@client.example>\r\n")
	for _, rcpt := range to {
		fmt.Fprintf(c.conn, "RCPT TO:<%s>\r\n", rcpt)
	}
	fmt.Fprint(c.conn, "DATA\r\n")
	for range 1 + len(to) {
		if err := c.expect("250"); err != nil {
			return nil, err
		}
	}
	if err := c.expect("354"); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(append(onWire(text(id)), ".\r\n"...)); err != nil {
		return nil, err
	}
	for _, rcpt := range to {
		reply, err := c.reply()
		switch {
		case err == nil && strings.HasPrefix(reply, "250"):
			err = acked(rcpt)
		case err == nil && strings.HasPrefix(reply, "4"):
			putOff = append(putOff, rcpt)
		case err == nil:
			err = fmt.Errorf("the daemon says %s", reply)
		}
		if err != nil {
			return nil, fmt.Errorf("message %s to %s: %w", id, rcpt, err)
		}
	}
	return putOff, nil
}

// Insist sends a message until nobody is put off, as a sender does.
func (c *Client) Insist(id string, to []string) (err error) {
	for range 10 {
		to, err = c.Send(id, to, func(string) error { return nil })
		if err != nil || len(to) == 0 {
			return err
		}
	}
	return fmt.Errorf("message %s is put off for ever, for %s", id, strings.Join(to, ", "))
}
