package peer

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// Swaks runs swaks, which plays one SMTP or LMTP session, with the arguments.
// It returns the transcript and the exit status: 0 for a delivery, over 20 for
// a refusal (swaks(1), EXIT CODES).
func Swaks(t testing.TB, args ...string) (transcript string, status int) {
	t.Helper()
	out, err := exec.Command(Need(t, "swaks")[0], args...).CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("peer: swaks: %v\n%s", err, out)
	}
	return string(out), 0
}

// A Trace is a strace(1) that watches a process and all its threads.
type Trace struct {
	*Process
	file string
}

// A Call is a system call that a Trace has seen.
type Call struct {
	Thread int
	Name   string
	Args   string // as strace prints them: descriptors with their paths, strings shortened
	Result string // "0", "-1 ENOENT (No such file or directory)", "?"
}

// Strace watches the running process pid for the calls, a list such as
// "fsync,linkat,renameat2" (strace(1), option -e trace). It returns when it is
// attached.
func Strace(t testing.TB, pid int, calls string) *Trace {
	t.Helper()
	path := Need(t, "strace")[0]
	tr := &Trace{file: filepath.Join(t.TempDir(), "strace")}
	tr.Process = Start(t, exec.Command(path, "-f", "-y", "-s", "200", "-e", "signal=none", "-e", "trace="+calls,
		"-o", tr.file, "-p", strconv.Itoa(pid)))
	tr.WaitOutput("attached")
	return tr
}

// End detaches and returns the calls in the order in which they returned. At the
// end, with the result "?", are those of which no return was seen, in the order
// in which they began: a reply that the test has read already may be among them.
func (tr *Trace) End() []Call {
	tr.t.Helper()
	tr.expected.Store(true)
	tr.Signal(syscall.SIGINT)
	<-tr.done
	b, err := os.ReadFile(tr.file)
	if err != nil {
		tr.t.Fatalf("peer: %v", err)
	}
	return parseTrace(b)
}

var (
	callLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)\) += (.*)$`)
	startedLine = regexp.MustCompile(`^(\d+) +(\w+)\((.*) <(?:unfinished|detached) \.\.\.>$`)
	resumedLine = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (.*)$`)
)

// parseTrace reads strace's output. A call that another thread's interrupts is
// in two pieces, which are put together.
func parseTrace(b []byte) (calls []Call) {
	var begun []Call // at most one of each thread
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\n")
		if m := startedLine.FindSubmatch(line); m != nil {
			begun = append(begun, newCall(m, "?"))
			continue
		}
		if m := callLine.FindSubmatch(line); m != nil {
			calls = append(calls, newCall(m, string(m[4])))
			continue
		}
		m := resumedLine.FindSubmatch(line)
		if m == nil {
			continue // a signal, or the end of a thread
		}
		c := newCall(m, string(m[4]))
		if i := slices.IndexFunc(begun, func(b Call) bool { return b.Thread == c.Thread }); i >= 0 {
			c.Args = begun[i].Args + c.Args
			begun = slices.Delete(begun, i, i+1)
		}
		calls = append(calls, c)
	}
	return append(calls, begun...)
}

// newCall makes a Call of the thread, the name and the arguments in m.
func newCall(m [][]byte, result string) Call {
	thread, _ := strconv.Atoi(string(m[1])) // digits, as the expressions ask
	return Call{Thread: thread, Name: string(m[2]), Args: string(m[3]), Result: result}
}
