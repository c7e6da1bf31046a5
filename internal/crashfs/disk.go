// Package crashfs is a file system in memory that fails on command: it loses
// power before a given operation, or an operation returns a given error. Tests
// go through all operations of a delivery with it, one after the other.
//
// Of a power loss it assumes no more than the manual pages promise. The content
// of a file is safe once its Sync has returned, a name (or the absence of one)
// once the Sync of its folder has. Of everything else each single thing may
// have reached the disk or not, independently: Fates enumerates the disks that
// may be found afterwards, among them those where all names survived and the
// content did not, as real file systems leave them.
//
// A Sync that failed has dropped what it could not write: a later one reports
// success and does not make that durable, as Linux does.
package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/mailbox"
)

// ErrPowerLoss is what every operation returns after the power was lost.
var ErrPowerLoss = errors.New("power loss")

// A Disk is an FS that counts its operations, from 0. The exported fields are
// set before its first use.
type Disk struct {
	// PowerLoss is the operation before which power is lost; negative: never.
	PowerLoss int

	// Fault is the operation that fails, once, with Err; negative: none. A
	// Write writes half of its octets before. If Late, the operation is done
	// in full, and then fails, as over a network.
	Fault int
	Err   error
	Late  bool

	// Ordered has names survive in the order in which they were given and taken
	// away, all over the disk, as a journal commits them: a Sync of a folder, and
	// a SyncAll of a file, makes all durable that came before. What WriteOut wrote
	// takes its place in that order.
	Ordered bool

	// NamesByFile has the name of a file survive for sure only once both its folder
	// and the file itself were synced since it got it, in whichever order.
	NamesByFile bool

	// NoTmpfile takes unnamed files away; NoLink lets them be made, but not
	// named.
	NoTmpfile, NoLink bool

	mu     sync.Mutex
	root   *node
	log    []change // not committed yet, if Ordered
	half   []change // names whose folder was synced, and not yet the file, if NamesByFile
	nodes  uint64   // files and folders made so far: the last one's id
	ops    int
	open   int
	failed bool // the Fault came
	trace  []string
}

// A change is of a name in a folder, or, if name is empty, of a file's octets.
type change struct {
	node  *node
	name  string
	child *node // nil: none
	data  []byte
}

// apply makes the change in what is on disk.
func (c change) apply(names map[string]*node, data *[]byte) {
	switch {
	case c.name == "":
		*data = c.data
	case c.child == nil:
		delete(names, c.name)
	default:
		names[c.name] = c.child
	}
}

// commit makes all changes durable.
func (d *Disk) commit() {
	for _, c := range d.log {
		c.apply(c.node.syncedNames, &c.node.synced)
	}
	d.log = nil
}

// keepNames makes the names of the file n durable that wait for its sync.
func (d *Disk) keepNames(n *node) {
	n.newName = false
	d.half = slices.DeleteFunc(d.half, func(c change) bool {
		if c.child == n && c.node.names[c.name] == n {
			c.node.syncedNames[c.name] = n
		}
		return c.child == n
	})
}

// A node is a file or a folder: what programs see of it, and what is on disk.
type node struct {
	id        uint64
	folder    bool
	time      time.Time // of modification
	changedAt time.Time

	names, syncedNames map[string]*node
	droppedNames       map[string]bool // changed, but a failed Sync dropped that

	newName      bool // since the last Sync of the file, if NamesByFile
	data, synced []byte
	dropped      int // from where on a failed Sync dropped data, plus 1; 0: nothing

	locks map[mailbox.Lock]*file // who holds them
}

func newFolder(id uint64) *node {
	n := newFile(id)
	n.folder = true
	n.names, n.syncedNames = make(map[string]*node), make(map[string]*node)
	n.droppedNames = make(map[string]bool)
	return n
}

func newFile(id uint64) *node {
	n := &node{id: id}
	n.touch()
	return n
}

// touch sets the times to now.
func (n *node) touch() {
	n.time = time.Now()
	n.changedAt = n.time
}

// New returns an empty disk that never fails.
func New() *Disk { return &Disk{PowerLoss: -1, Fault: -1, root: newFolder(1), nodes: 1} }

// Ops returns the number of operations so far.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Open returns the number of files and folders that were not closed.
func (d *Disk) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

// Trace returns a line for each operation so far.
func (d *Disk) Trace() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.trace, "\n")
}

// Files returns the content of each file in the folder name; none if there is
// no such folder.
func (d *Disk) Files(name string) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := make(map[string]string)
	if folder := d.find(name); folder != nil {
		for name, n := range folder.names {
			if !n.folder {
				files[name] = string(n.data)
			}
		}
	}
	return files
}

// Time returns the time of modification of a file, zero if there is none.
func (d *Disk) Time(name string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.find(name); n != nil {
		return n.time
	}
	return time.Time{}
}

// nextID returns the id of a new node. d.mu is held.
func (d *Disk) nextID() uint64 {
	d.nodes++
	return d.nodes
}

func (d *Disk) find(name string) *node {
	n := d.root
	if name == "." {
		return n
	}
	for part := range strings.SplitSeq(name, "/") {
		if n == nil || !n.folder {
			return nil
		}
		n = n.names[part]
	}
	return n
}

// op counts an operation and does it, unless it fails. do may be nil.
func (d *Disk) op(call, name string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.PowerLoss >= 0 && d.ops >= d.PowerLoss {
		return &fs.PathError{Op: call, Path: name, Err: ErrPowerLoss}
	}
	err := d.attempt(do)
	line := fmt.Sprintf("%d: %s %s", d.ops, call, name)
	if err != nil {
		err = &fs.PathError{Op: call, Path: name, Err: err}
		line += ": " + err.Error()
	}
	d.trace = append(d.trace, line)
	d.ops++
	return err
}

func (d *Disk) attempt(do func() error) error {
	fault := d.ops == d.Fault
	if do != nil && (!fault || d.Late) {
		if err := do(); err != nil {
			return err
		}
	}
	if !fault {
		return nil
	}
	d.failed = true
	return d.Err
}

// Failed reports whether the Fault came.
func (d *Disk) Failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// OpenDir implements mailbox.FS.
func (d *Disk) OpenDir(name string) (mailbox.Dir, error) {
	var n *node
	err := d.op("open", name, func() error {
		if !fs.ValidPath(name) {
			return fs.ErrInvalid
		}
		if n = d.find(name); n == nil || !n.folder {
			return fs.ErrNotExist
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.opened(1)
	return &dir{disk: d, node: n, name: name}, nil
}

func (d *Disk) opened(n int) {
	d.mu.Lock()
	d.open += n
	d.mu.Unlock()
}

// Close implements mailbox.FS.
func (d *Disk) Close() error { return nil }

// Sub returns the part of d below the folder name, sharing everything.
func (d *Disk) Sub(name string) mailbox.FS { return sub{d, name} }

type sub struct {
	*Disk
	name string
}

func (s sub) OpenDir(name string) (mailbox.Dir, error) {
	return s.Disk.OpenDir(path.Join(s.name, name))
}
