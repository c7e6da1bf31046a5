package main

import (
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Lab is what the trials have in common.
type Lab struct {
	top   string // the module under test
	dir   string // for all that is made; not on a file system under test
	keep  string // for the disks of bad states; "" is nowhere
	seed  uint64
	disks *rpc.Client

	commit bool // a FileSystem's commit is called amid deliveries
	names  atomic.Int64
}

func newLab(disks *rpc.Client, dir, keep string, seed uint64) (*Lab, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	top := filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), "../..")
	return &Lab{top: top, dir: dir, keep: keep, seed: seed, disks: disks}, nil
}

// call calls a method of the Disks.
func (l *Lab) call(method string, r Request, answer any) error {
	if answer == nil {
		answer = new(struct{})
	}
	return l.disks.Call("Disks."+method, r, answer)
}

// image returns the file that is a disk.
func (l *Lab) image(disk string) string { return l.dir + "/disks/" + disk }

// newFolder returns a folder that is not there yet.
func (l *Lab) newFolder() string { return fmt.Sprint(l.dir, "/", l.names.Add(1)) }

// program returns where a build of the daemon is; "" is the right one.
func (l *Lab) program(mutant string) string {
	return l.dir + "/postern" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, mutant)
}

// trials returns those of n states of each file system, and of the mutants.
func (l *Lab) trials(systems []FileSystem, n int, only string) (trials []*Trial) {
	add := func(f FileSystem, w Workload, mutant string, states int) {
		t := &Trial{FileSystem: f, Workload: w, Program: l.program(mutant), Mutant: mutant, States: states, lab: l}
		if strings.HasPrefix(t.String(), only) {
			trials = append(trials, t)
		}
	}
	for _, f := range systems {
		able := slices.DeleteFunc(slices.Clone(workloads), func(w Workload) bool { return w.durability == "ordered" && !f.ordered })
		shares := 0
		for _, w := range able {
			shares += w.share
		}
		for _, w := range able {
			add(f, w, "", (n*w.share+shares-1)/shares)
			for _, m := range mutants {
				if m.Workload == w.Name {
					add(f, w, m.Name, max(n, 2*batch))
				}
			}
		}
	}
	return trials
}

// Run runs the trials, jobs of them at once, prints what came of each, and
// reports whether all is as it should be.
func (l *Lab) Run(trials []*Trial, jobs int) bool {
	start := time.Now()
	if err := l.buildAll(trials); err != nil {
		fmt.Fprintf(os.Stderr, "crash: %v\n", err)
		return false
	}
	fmt.Printf("seed %d; built in %.0f s\n", l.seed, time.Since(start).Seconds())
	var group errgroup.Group
	group.SetLimit(jobs)
	var failed atomic.Int64
	for _, t := range trials {
		group.Go(func() error {
			if err := t.run(); err != nil {
				failed.Add(1)
				fmt.Printf("%v FAILED: %v\n", t, err)
			}
			return nil
		})
	}
	_ = group.Wait()
	fmt.Printf("%d of %d trials failed, %.0f s\n", failed.Load(), len(trials), time.Since(start).Seconds())
	return failed.Load() == 0 && len(trials) > 0
}

// run runs the trial and prints its verdict, which is an error unless it is right
// for the right daemon or wrong for a mutant.
func (t *Trial) run() error {
	v, err := t.Run()
	switch {
	case err != nil:
		return err
	case t.Mutant != "" && v.Bad == 0:
		return fmt.Errorf("%v: it was not caught", v)
	case t.Mutant != "":
		fmt.Printf("%v caught: %v\n", t, v)
		return nil
	case v.Bad > 0:
		return fmt.Errorf("%v; the first: %s", v, v.First)
	}
	fmt.Printf("%v %v\n", t, v)
	return nil
}

// buildAll builds the daemons that the trials need.
func (l *Lab) buildAll(trials []*Trial) error {
	edits := map[string][]Edit{l.program(""): nil}
	for _, m := range mutants {
		edits[l.program(m.Name)] = m.Edits
	}
	programs := make(map[string]bool)
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU())
	for _, t := range trials {
		if !programs[t.Program] {
			programs[t.Program] = true
			group.Go(func() error { return build(l.top, t.Program, edits[t.Program]) })
		}
	}
	return group.Wait()
}

// save keeps a disk for those who want to look at it, and says where.
func (l *Lab) save(disk string) string {
	if l.keep == "" {
		return " (-keep keeps its disk)"
	}
	path := filepath.Join(l.keep, disk+".img")
	if err := l.call("Save", Request{Disk: disk, Path: path}, nil); err != nil {
		return fmt.Sprintf(" (%v)", err)
	}
	return fmt.Sprintf(" (%s)", path)
}
