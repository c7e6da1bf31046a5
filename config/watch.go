package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long the folder must be quiet before it is read: an editor
	// writes a file in several steps.
	settle = 200 * time.Millisecond
	// patience is how long we wait for that at most.
	patience = 800 * time.Millisecond
	// afterDrop is how long after the watch of a folder ended we look once more: late
	// events of the old folder may end the watch of the new one.
	afterDrop = time.Second
	// pollInterval is how often the folder is read without an event, for file systems
	// such as NFS that do not tell what other hosts do.
	pollInterval = 30 * time.Second
	// blindInterval is the same where the folder cannot be watched.
	blindInterval = 5 * time.Second
	// maxLinks bounds the links that lead to a folder or file, as Linux does.
	maxLinks = 40
)

// Watch reloads the maps when they change, within a second, until ctx ends. It
// returns nil then. What is read decides and not what was heard: an event says
// no more than that it is time to look.
func (g *Generations) Watch(ctx context.Context) error {
	return g.watch(ctx, pollInterval)
}

func (g *Generations) watch(ctx context.Context, interval time.Duration) error {
	return watch(ctx, watcher{folder: g.dir}, g.log, interval, func() { _ = g.Check() }) // which logs
}

// Run does what is due at a certain time, until ctx ends: it takes back what nobody has
// confirmed, and looks again at maps that had to stay unchanged for a while. Watch does
// not, for one may be wanted without the other.
func (g *Generations) Run(ctx context.Context) {
	for {
		var alarm <-chan time.Time
		if at := g.next(); !at.IsZero() {
			alarm = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-alarm:
			g.due()
		}
	}
}

// WatchFiles calls look when one of the files may have changed, and every now and
// then, until ctx ends. It returns nil then.
func WatchFiles(ctx context.Context, files []string, log *slog.Logger, look func()) error {
	return watch(ctx, watcher{files: files}, log, pollInterval, look)
}

// watch calls look when what w is to watch may have changed, and at least once in
// interval, until ctx ends. It returns nil then.
func watch(ctx context.Context, w watcher, log *slog.Logger, interval time.Duration, look func()) error {
	if err := w.open(); err != nil {
		interval = w.tell(log, interval, err)
	}
	defer w.close()
	poll := time.NewTicker(interval)
	defer poll.Stop()
	quiet := time.NewTimer(0) // the first look is at once: something may have changed since Open
	defer quiet.Stop()
	for w.wait(ctx, log, poll, quiet) {
		err := w.follow() // before reading, so that nothing falls between
		if w.dropped {
			w.dropped = false
			quiet.Reset(afterDrop)
		}
		if blind := err != nil; blind != w.blind {
			w.blind = blind
			poll.Reset(w.tell(log, interval, err))
		}
		look()
	}
	return nil
}

// wait returns true when it is time to look: when poll says so, when something has gone
// wrong, or when quiet ends. Each event that concerns us makes quiet begin anew, but not
// beyond patience. It returns false when ctx has ended.
func (w *watcher) wait(ctx context.Context, log *slog.Logger, poll *time.Ticker, quiet *time.Timer) bool {
	var first time.Time // when the first event came
	for {
		select {
		case <-ctx.Done():
			return false
		case e := <-w.events:
			if !w.concerns(e) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			quiet.Reset(min(settle, max(0, patience-time.Since(first))))
		case err := <-w.errors:
			log.Warn("edits may be noticed late", "what", w.what(), "cause", wayOut(err))
			w.forget() // after an overflow nobody knows what is still watched
			return true
		case <-poll.C:
			return true
		case <-quiet.C:
			return true
		}
	}
}

// tell says that w has become blind, or sees again, and returns how often it is to
// be read from now on.
func (w *watcher) tell(log *slog.Logger, interval time.Duration, err error) time.Duration {
	if err == nil {
		log.Info("edits are noticed at once again", "what", w.what())
		return interval
	}
	interval = min(interval, blindInterval)
	log.Warn("edits are noticed late: the folder cannot be watched", "what", w.what(), "every", interval, "cause", wayOut(err))
	return interval
}

// wayOut adds to err what to do about it, where a limit of the kernel is the cause
// (inotify(7)).
func wayOut(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w; raise fs.inotify.max_user_watches", err)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w; raise fs.inotify.max_user_instances, or the limit of open files", err)
	}
	return err
}

// A watcher hears of changes to a folder of maps, or to files, whichever links lead to
// them or are among them. It watches folders and no files, for a file that is replaced
// takes its watch with it.
type watcher struct {
	folder string   // of maps; "": none
	files  []string // absolute

	blind   bool // not all could be watched
	dropped bool // the watch of a folder has ended since the last look
	notify  *fsnotify.Watcher
	events  <-chan fsnotify.Event
	errors  <-chan error
	folders map[string]os.FileInfo // those that are watched, by their real path
	inside  map[string]bool        // of these, where any name concerns us
	names   map[string]bool        // the names that concern us in the others
}

// open begins to listen. A watcher that is not open hears nothing.
func (w *watcher) open() error {
	w.folders = make(map[string]os.FileInfo)
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	w.notify, w.events, w.errors = notify, notify.Events, firstUnread(notify.Errors)
	return nil
}

// firstUnread passes on errors, and drops those that come while one is still unread. It never
// lets fsnotify wait: that holds its lock until an error is taken, and whoever is about
// to end a watch waits for the lock.
func firstUnread(errs <-chan error) <-chan error {
	last := make(chan error, 1)
	go func() { // until notify is closed
		for err := range errs {
			select {
			case last <- err:
			default:
			}
		}
	}()
	return last
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close() // nobody listens any more
	}
}

// concerns reports whether e may change the maps. If e takes a folder away, its watch
// ends, even if a new folder gets the same inode number.
func (w *watcher) concerns(e fsnotify.Event) bool {
	_, isFolder := w.folders[e.Name]
	if isFolder && e.Op&(fsnotify.Remove|fsnotify.Rename) != 0 {
		w.drop(e.Name)
	}
	return isFolder || w.names[e.Name] || w.inside[filepath.Dir(e.Name)]
}

// drop ends the watch of a folder, if the system has not done so.
func (w *watcher) drop(folder string) {
	_ = w.notify.Remove(folder)
	delete(w.folders, folder)
	w.dropped = true
}

// forget ends all watches.
func (w *watcher) forget() {
	for folder := range w.folders {
		w.drop(folder)
	}
}

// what says what is to be watched.
func (w *watcher) what() string {
	return strings.TrimSpace(w.folder + " " + strings.Join(w.files, " "))
}

// follow watches the folders on the way to what is to be watched, as the links are now,
// and no others.
func (w *watcher) follow() error {
	if w.notify == nil {
		return nil
	}
	w.inside, w.names = make(map[string]bool), make(map[string]bool)
	for _, file := range w.files {
		w.trace(file)
	}
	if w.folder == "" {
		return w.settle()
	}
	if real := w.trace(w.folder); real != "" {
		w.inside[real] = true
		entries, _ := os.ReadDir(real) // whoever reads the maps tells of an error
		for _, e := range entries {
			if e.Type() == fs.ModeSymlink && isMap(e.Name()) {
				w.trace(filepath.Join(real, e.Name()))
			}
		}
	}
	return w.settle()
}

// settle watches the folders of what concerns us, and no others.
func (w *watcher) settle() error {
	wanted := maps.Clone(w.inside)
	for name := range w.names {
		wanted[filepath.Dir(name)] = true
	}
	listed := w.notify.WatchList()
	for folder, old := range w.folders {
		if info, err := os.Stat(folder); !wanted[folder] || err != nil || !os.SameFile(info, old) || !slices.Contains(listed, folder) {
			w.drop(folder)
		}
	}
	var errs []error
	for folder := range wanted {
		if w.folders[folder] == nil {
			errs = append(errs, w.add(folder))
		}
	}
	return errors.Join(errs...)
}

func (w *watcher) add(folder string) error {
	info, err := os.Stat(folder)
	if err == nil {
		err = w.notify.Add(folder)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // gone meanwhile; the watch of its parent tells of a new one
	case err != nil:
		return fmt.Errorf("watch %s: %w", folder, err)
	}
	w.folders[folder] = info
	return nil
}

// trace notes the names that decide what name leads to: each link on the way, and where
// the way ends. It returns that end; if a name is missing, it notes that one, and returns
// nothing.
func (w *watcher) trace(name string) string {
	at, rest := "/", strings.Split(name, "/")
	for hops := 0; len(rest) > 0 && hops <= maxLinks; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, part)
		to, err := os.Readlink(next)
		switch {
		case err == nil:
			w.names[next] = true
			hops++
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(strings.Split(to, "/"), rest...)
			continue
		case errors.Is(err, fs.ErrNotExist):
			w.names[next] = true
			return ""
		}
		at = next
	}
	if len(rest) > 0 {
		return ""
	}
	w.names[at] = true
	return at
}
