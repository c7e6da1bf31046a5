// Command crash is the block-level crash laboratory: it runs the delivery agent
// on disks of its own, and looks at what there is after the power failed. It
// must run as root.
package main

import (
	"flag"
	"fmt"
	"net/rpc"
	"os"
	"runtime"
	"strings"
	"time"
)

const usage = `Runs postern mda, built from this tree, on disks that lose power, and looks for
what it had acknowledged and for parts of messages. Builds with a known defect
must be caught in the same run. README.md says how it works.

  go run . [flags]

`

func main() {
	states := flag.Int("states", 300, "how many crash states of each file system are looked at")
	names := flag.String("fs", "ext4,xfs,btrfs", "the file systems, separated by commas")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what is left to chance")
	only := flag.String("only", "", "only trials whose line begins with this, as \"ext4   full\"")
	jobs := flag.Int("jobs", runtime.NumCPU(), "how many trials go on at once")
	commit := flag.Bool("commit", true, "have btrfs commit its transactions amid deliveries")
	keep := flag.String("keep", "", "a `folder` for the disks of states in which anything is wrong")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage); flag.PrintDefaults() }
	flag.Parse()
	if flag.NArg() == 4 && flag.Arg(0) == "guest" {
		fatal(guest(flag.Arg(1), flag.Arg(2), flag.Arg(3)))
	}
	systems, err := choose(strings.Split(*names, ","))
	if err == nil {
		err = missing(systems)
	}
	if err != nil {
		fatal(err)
	}
	dir := os.Getenv(inside)
	if dir == "" {
		os.Exit(serve())
	}
	disks, err := rpc.Dial("unix", dir+"/rpc")
	if err != nil {
		fatal(err)
	}
	lab, err := newLab(disks, dir, *keep, *seed)
	if err != nil {
		fatal(err)
	}
	lab.commit = *commit
	if !lab.Run(lab.trials(systems, *states, *only), *jobs) {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintf(os.Stderr, "crash: %v\n", err)
	os.Exit(1)
}
