package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Load is a stream of messages over several connections at once.
type Load struct {
	Socket      string
	Name        string // begins the IDs of its messages
	Recipients  []string
	Connections int
	Messages    int // 0: until something fails
	Seed        uint64
	Mark        func(Mark) error
}

// Run sends the messages, and marks what is about to be sent and what was
// acknowledged.
func (l Load) Run() error {
	var next atomic.Int64
	var group errgroup.Group
	for i := range l.Connections {
		group.Go(func() error {
			c, err := dial(l.Socket)
			if err != nil {
				return err
			}
			defer c.Close()
			random := rand.New(rand.NewPCG(l.Seed, uint64(i)))
			for {
				n := int(next.Add(1))
				if l.Messages > 0 && n > l.Messages {
					return nil
				}
				if err := l.send(c, fmt.Sprintf("%s-%d", l.Name, n), random); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

func (l Load) send(c *Client, id string, random *rand.Rand) error {
	var to []string
	for _, i := range random.Perm(len(l.Recipients))[:1+random.IntN(2)] {
		to = append(to, l.Recipients[i])
	}
	for _, rcpt := range to {
		if err := l.Mark(Mark{Message: id, To: rcpt}); err != nil {
			return err
		}
	}
	_, err := c.Send(id, to, func(rcpt string) error { return l.Mark(Mark{Message: id, To: rcpt, Acked: true}) })
	return err // whoever was put off, as by a lock on a busy machine, was promised nothing
}

// fidget syncs a file of its own again and again, until stop is called, as other
// programs do on the same file system, and now and then calls commit with it, as
// the kernel does every few seconds: what is not yet durable then becomes so in
// the midst of a delivery, in whichever order it was done.
func fidget(path string, commit func(*os.File)) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer f.Close()
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond):
				_, _ = f.WriteAt([]byte(time.Now().String()), 0)
				_ = f.Sync()
				if i%4 == 0 && commit != nil {
					commit(f)
				}
			}
		}
	})
	return func() { close(done); wg.Wait() }, nil
}
