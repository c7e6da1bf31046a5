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
// at once. Any other answer is an error: nothing here is to be refused.
func (c *Client) Send(id string, to []string, acked func(to string) error) error {
	fmt.Fprint(c.conn, "MAIL FROM:<lab@client.example>\r\n")
	for _, rcpt := range to {
		fmt.Fprintf(c.conn, "RCPT TO:<%s>\r\n", rcpt)
	}
	fmt.Fprint(c.conn, "DATA\r\n")
	for range 1 + len(to) {
		if err := c.expect("250"); err != nil {
			return err
		}
	}
	if err := c.expect("354"); err != nil {
		return err
	}
	if _, err := c.conn.Write(append(onWire(text(id)), ".\r\n"...)); err != nil {
		return err
	}
	for _, rcpt := range to {
		if err := c.expect("250"); err != nil {
			return fmt.Errorf("message %s to %s: %w", id, rcpt, err)
		}
		if err := acked(rcpt); err != nil {
			return err
		}
	}
	return nil
}
