package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"sync"
	"time"
)

// each calls f for 0 to n-1, some at once, and returns the first error.
func each(n, atOnce int, f func(i int) error) (first error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	turns := make(chan struct{}, atOnce)
	for i := range n {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			if err := f(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = fmt.Errorf("connection %d: %w", i, err)
				}
			}
		})
	}
	wg.Wait()
	return first
}

// source is an address of a network of its own for each 40 connections.
func source(i int) string { return fmt.Sprintf("127.%d.%d.1", 20+i/40/250, i/40%250) }

// idle holds connections that have said EHLO and say nothing more.
func idle(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("idle", flag.ExitOnError)
	n := flags.Int("n", 10000, "connections")
	secure := flags.Bool("tls", false, "through STARTTLS")
	hold := flags.Duration("hold", 3*time.Second, "for how long")
	_ = flags.Parse(args)
	before := memory()
	conns := make([]*conn, *n)
	err := each(*n, 50, func(i int) (err error) {
		conns[i], err = open(source(i), *secure)
		return err
	})
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	if err != nil {
		return err
	}
	select {
	case <-time.After(*hold):
	case <-ctx.Done():
	}
	after := memory()
	fds, _ := descriptors()
	dead := 0
	for _, c := range conns[:min(*n, 100)] {
		if c.ask("NOOP") != 250 {
			dead++
		}
	}
	fmt.Printf("idle: %d connections, TLS %v: %s before, %s with them: %.1f KiB each; %d descriptors; of 100 asked, %d did not answer\n",
		*n, *secure, mib(before), mib(after), float64(after[0]-before[0])/1024/float64(*n), fds, dead)
	if dead > 0 {
		return fmt.Errorf("%d of 100 connections are dead", dead)
	}
	return nil
}

// block is 64 KiB of a message.
var block = bytes.Repeat([]byte("0123456789012345678901234567890123456789012345678901234567890\r\n"), 1024)

// half holds connections in the middle of a message, then finishes some and hangs
// up on the others.
func half(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("half", flag.ExitOnError)
	n := flags.Int("n", 200, "connections")
	size := flags.Int("size", 50, "MiB of each message")
	finish := flags.Int("finish", 5, "how many are sent to their end")
	_ = flags.Parse(args)
	before := memory()
	conns := make([]*conn, *n)
	blocks := *size << 20 / len(block)
	err := each(*n, 20, func(i int) (err error) {
		if conns[i], err = open(source(i), false); err != nil {
			return err
		}
		return begin(conns[i], *size<<20, blocks/2)
	})
	if err != nil {
		return err
	}
	middle := memory()
	_, spooled := descriptors()
	fmt.Printf("half: %d connections, each with %d MiB of a message of %d: %s before, %s with them; %.0f MiB in the spool\n",
		*n, *size/2, *size, mib(before), mib(middle), float64(spooled)/(1<<20))
	heard := make(map[int]int)
	for i, c := range conns {
		if i < *finish {
			for range blocks - blocks/2 - 1 {
				_, _ = c.Write(block)
			}
			heard[c.ask(".")]++
		}
		c.Close()
	}
	for wait := 0; wait < 60 && ctx.Err() == nil; wait++ { // until the server has noticed
		if _, spooled = descriptors(); spooled == 0 {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	fmt.Printf("half: %d sent to their end: %v; after it %s, %.0f MiB in the spool\n", *finish, heard, mib(memory()), float64(spooled)/(1<<20))
	if heard[250] != *finish || spooled != 0 {
		return fmt.Errorf("%d of %d were taken, %d octets are left in the spool", heard[250], *finish, spooled)
	}
	return nil
}

// begin starts a message of size octets, and sends some blocks of it.
func begin(c *conn, size, blocks int) error {
	for _, step := range []struct {
		line string
		code int
	}{
		{fmt.Sprintf("MAIL FROM:<storm@example.net> SIZE=%d", size-1<<20), 250},
		{"RCPT TO:<" + fmt.Sprintf(*to, 0) + ">", 250},
		{"DATA", 354},
		{"From: <storm@example.net>\r\nSubject: half\r\n", 0},
	} {
		if step.code == 0 {
			if _, err := c.Write([]byte(step.line + "\r\n")); err != nil {
				return err
			}
			continue
		}
		if code := c.ask(step.line); code != step.code {
			return fmt.Errorf("%s: %d", step.line, code)
		}
	}
	for range blocks {
		if _, err := c.Write(block); err != nil {
			return err
		}
	}
	return nil
}
