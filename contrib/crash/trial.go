package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Workload is what the daemon is asked for, and how it is configured.
type Workload struct {
	Name       string
	durability string
	recipients []string
	share      int // of the states, in sixths
}

var workloads = []Workload{
	{"full", "full", maildirs, 3},
	{"ordered", "ordered", maildirs, 1},
	{"mbox", "full", mboxes, 2},
}

const (
	connections = 8
	messages    = 400
)

// A Trial is one daemon on one file system: it is loaded once, and the disk is
// then looked at as it would be after losing power at many moments.
type Trial struct {
	FileSystem
	Workload
	Program string
	Mutant  string // "": it is the right one
	States  int    // how many are looked at; of a mutant at most, until it is caught

	lab  *Lab
	dir  string
	site *Site
}

func (t *Trial) String() string {
	if t.Mutant == "" {
		return fmt.Sprintf("%-6s %-8s", t.FileSystem.Name, t.Workload.Name)
	}
	return fmt.Sprintf("%-6s %-8s with %s:", t.FileSystem.Name, t.Workload.Name, t.Mutant)
}

// Run records and examines.
func (t *Trial) Run() (*Verdict, error) {
	t.dir = t.lab.newFolder()
	if err := os.MkdirAll(t.disk(), 0o700); err != nil {
		return nil, err
	}
	var err error
	if t.site, err = NewSite(t.dir, t.disk(), t.durability); err != nil {
		return nil, err
	}
	r := Request{Size: t.size}
	if err := t.lab.call("New", r, &r.Disk); err != nil {
		return nil, err
	}
	defer t.lab.call("Remove", r, nil)
	if err := t.record(r); err != nil {
		return nil, err
	}
	return t.examineAll(r)
}

// disk is where the disk is mounted.
func (t *Trial) disk() string { return t.dir + "/disk" }

// record runs the daemon under load on a new disk, whose history then has what
// happened.
func (t *Trial) record(r Request) (err error) {
	if err := t.mount(t.lab.image(r.Disk), t.disk(), true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount(t.disk())) }()
	err = errors.Join(t.site.MakeFolders(), syncAll(t.disk()), t.lab.call("Record", r, nil))
	if err != nil {
		return err
	}
	daemon, err := t.site.Start(t.Program)
	if err != nil {
		return err
	}
	defer daemon.Kill()
	commit := t.commit
	if !t.lab.commit {
		commit = nil
	}
	stop, err := fidget(t.disk()+"/fidget", commit)
	if err != nil {
		return err
	}
	defer stop()
	load := Load{
		Socket: t.site.socket(), Name: "m", Recipients: t.recipients,
		Connections: connections, Messages: messages, Seed: t.lab.seed,
		Mark: func(m Mark) error { return t.lab.call("Mark", Request{Disk: r.Disk, Mark: m}, nil) },
	}
	if err := load.Run(); err != nil {
		return fmt.Errorf("%w; its log ends: %s", err, daemon.Log())
	}
	return t.lab.call("Stop", r, nil)
}

// syncAll makes all that the file system has by now durable.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// batch is how many states of a mutant are looked at before it may count as
// caught, for the figures.
const batch = 15

// examineAll looks at the states: of a mutant by batches, until it is caught.
func (t *Trial) examineAll(r Request) (*Verdict, error) {
	v := &Verdict{}
	r.N = t.States
	if t.Mutant != "" {
		r.N = min(r.N, batch)
	}
	for r.Seed = t.lab.seed; v.States < t.States && v.Bad == 0; r.Seed++ {
		if err := t.lab.call("States", r, nil); err != nil {
			return v, err
		}
		for range r.N {
			var s StateInfo
			if err := t.lab.call("Next", r, &s); err != nil {
				return v, err
			}
			if err := t.examine(s, v); err != nil {
				return v, fmt.Errorf("%s: %w", s.Name, err)
			}
		}
	}
	return v, nil
}

// examine adds to v what is wrong in a state.
func (t *Trial) examine(s StateInfo, v *Verdict) error {
	defer t.lab.call("Remove", Request{Disk: s.Disk}, nil)
	found := Verdict{}
	if err := t.look(s, &found); err != nil {
		return err
	}
	v.add(s.Name, found)
	if t.Mutant == "" && v.Bad == 1 && found.First != "" {
		v.First += t.lab.save(s.Disk)
	}
	return nil
}

// look mounts a state, for which the file system replays its journal, and looks
// at the store: as it is, and when the daemon has been started again and was
// sent once more what it had not acknowledged, as a sender would.
func (t *Trial) look(s StateInfo, v *Verdict) (err error) {
	if err := t.mount(t.lab.image(s.Disk), t.disk(), false); err != nil {
		v.wrong(&v.Unmounted, "%v", err)
		return nil
	}
	defer func() { err = errors.Join(err, unmount(t.disk())) }()
	promised, unheard := split(s.Marks)
	found, err := Look(t.site.store)
	if err != nil {
		v.wrong(&v.Partial, "%v", err)
		return nil
	}
	v.compare(found, promised)
	if err := t.retry(unheard); err != nil {
		v.wrong(&v.Unserved, "%v", err)
		return nil
	}
	if found, err = Look(t.site.store); err != nil {
		v.wrong(&v.Partial, "%v", err)
		return nil
	}
	found.partial = append(found.partial, found.tails...) // which the daemon should have mended
	v.compare(found, append(promised, unheard...))
	for _, u := range unheard {
		v.Doubled += max(0, found.whole[Copy{u.Message, placeOf(u.To)}]-1)
	}
	return nil
}

// retry starts the daemon again and sends what it had not acknowledged, and a
// message to every recipient.
func (t *Trial) retry(unheard []Mark) error {
	if err := t.forgetDotlocks(); err != nil {
		return err
	}
	daemon, err := t.site.Start(t.Program)
	if err != nil {
		return err
	}
	defer daemon.Kill()
	c, err := dial(t.site.socket())
	if err != nil {
		return err
	}
	defer c.Close()
	for _, u := range unheard {
		err = errors.Join(err, c.Insist(u.Message, []string{u.To}))
	}
	if err = errors.Join(err, c.Insist("later", t.recipients)); err != nil {
		err = fmt.Errorf("%w; its log ends: %s", err, daemon.Log())
	}
	return err
}

// forgetDotlocks removes those that the crash left behind. The daemon does it
// when they are five minutes old; nobody can make them look so.
func (t *Trial) forgetDotlocks() error {
	locks, err := filepath.Glob(t.site.store + "/*/*.mbox.lock")
	for _, lock := range locks {
		err = errors.Join(err, os.Remove(lock))
	}
	return err
}
