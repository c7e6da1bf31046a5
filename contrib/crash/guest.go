package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sync"
)

// guest is what powercuts runs in its virtual machine, on a disk that is mounted
// on disk: it tells what the store has, then loads the daemon until the machine
// is killed, and tells of each acknowledgement. A line that is whole ends in a
// full stop.
func guest(disk, durability, boot string) error {
	port, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	site, err := NewSite("/site", disk, durability)
	if err != nil {
		return err
	}
	if _, err := os.Stat(site.store); err != nil {
		if err := site.MakeFolders(); err != nil {
			return err
		}
	}
	if err := tell(port, site.store); err != nil {
		return err
	}
	daemon, err := site.Start("/postern")
	if err != nil {
		return err
	}
	defer daemon.Kill()
	var mu sync.Mutex
	load := Load{
		Socket: site.socket(), Name: "boot" + boot, Recipients: append(maildirs[:len(maildirs):len(maildirs)], mboxes...),
		Connections: connections, Mark: func(m Mark) error {
			if !m.Acked {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			_, err := fmt.Fprintf(port, "acked %s %s .\n", m.Message, placeOf(m.To))
			return err
		},
	}
	if err := load.Run(); err != nil {
		return fmt.Errorf("%w; its log ends: %s", err, daemon.Log())
	}
	return nil
}

// tell writes what the store has.
func tell(port io.Writer, store string) error {
	found, err := Look(store)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(port)
	for c := range found.whole {
		fmt.Fprintf(w, "has %s %s .\n", c.Message, c.Place)
	}
	for _, p := range found.partial {
		fmt.Fprintf(w, "partial %s .\n", p)
	}
	for _, t := range found.tails {
		fmt.Fprintf(w, "tail %s .\n", t)
	}
	fmt.Fprint(w, "looked .\n")
	return w.Flush()
}
