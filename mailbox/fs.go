package mailbox

import (
	"io"
	"io/fs"
	"iter"
	"time"
)

// An FS is the part of a file system below one folder, in the few calls that a
// durable delivery is made of. Open puts a Store on the real one; tests have one that
// loses power. Whatever it is asked, it does not follow a symbolic link and
// does not leave its folder. Errors tell the call and the path, and wrap the
// errno. All is safe for use by many goroutines, except one File.
type FS interface {
	// OpenDir opens the folder name: components separated by slashes, relative
	// to the FS; "." is the FS itself.
	OpenDir(name string) (Dir, error)
	Close() error
}

// A Dir is an open folder. Names are single components.
//
// It is large on purpose: whatever is done to a folder is here, so that tests can
// have the power fail before each of these calls, and each of them fail.
type Dir interface {
	// Mkdir makes a folder; fs.ErrExist tells that there is something.
	Mkdir(name string) error

	// Tmpfile makes a file without a name, which is gone unless Publish gives
	// it one. Where the file system has no such thing, the error is
	// errors.ErrUnsupported.
	Tmpfile() (File, error)

	// Create makes a file that must not exist yet.
	Create(name string) (File, error)

	// Publish gives a name to a file that Tmpfile made in this folder. A name
	// that is taken is fs.ErrExist. It may still find out that this is not
	// supported after all, which then holds for the next Tmpfile. A file that was
	// made in another folder gets a further name, where the file system can.
	Publish(f File, name string) error

	// Move gives the file name of this folder the name newname in to, and
	// never replaces another: a name that is taken is fs.ErrExist.
	Move(name string, to Dir, newname string) error

	// Open opens a file that is already there, and is nothing but a file: no
	// link, and no other name leads to it.
	Open(name string) (File, error)

	// Replace gives the file name the name newname in place of whatever file
	// had it, at once.
	Replace(name, newname string) error

	// Remove takes a file's name away.
	Remove(name string) error

	// Names returns the names in the folder, in no order, without "." and "..".
	// An error comes last, and once.
	Names() iter.Seq2[string, error]

	// Stat returns what there is under name, or fs.ErrNotExist.
	Stat(name string) (Info, error)

	// Own gives the file or folder name the modes and the group that new ones get.
	Own(name string) error

	// Chown gives the file or folder name to another user, if no other name leads to
	// it. Only root may.
	Chown(name string, owner uint32) error

	// Ordered reports whether the file system is known to make changes of names
	// durable in the order in which they were made, with what WriteOut wrote
	// before, so that SyncAll of a file makes its newest name durable.
	Ordered() bool

	// NamesByFile reports whether Sync may leave out the name of a file that was
	// not itself synced since it got it.
	NamesByFile() bool

	// Sync makes the names in this folder durable, and those that were taken
	// away absent.
	Sync() error
	Close() error
}

// An Info is what a folder tells of one of its names.
type Info struct {
	Folder, Regular bool      // neither: a link, a device or the like
	Size            int64     // octets
	Modified        time.Time // the content; can be set
	Changed         time.Time // the content, the name or anything else; cannot be set
	ID              [2]uint64 // tells a file from others, whatever its name
	Owner, Group    uint32
	Mode            fs.FileMode // the permissions
}

// A File is an open file. One that Create or Tmpfile made is written from its
// beginning; to one that Open opened Write appends.
type File interface {
	// Write writes all of p, or returns an error.
	io.Writer
	io.ReaderAt

	// WriteAt writes over what a new file has at off.
	io.WriterAt

	Stat() (Info, error)

	// SetTime sets the time of modification.
	SetTime(t time.Time) error

	// Truncate cuts the file to size octets.
	Truncate(size int64) error

	// TryLock takes a lock of the whole file for writing, which Close gives
	// back. It reports false if another holds it, even in this process.
	TryLock(l Lock) (bool, error)

	// Sync makes the content durable, not the name. An error is final: the
	// system may have dropped what it could not write, and the next Sync would
	// then succeed for nothing.
	Sync() error

	// WriteOut has the content written to the disk, which may still hold it in
	// its cache. SyncAll makes all of the file durable, and where the folder is
	// Ordered, its name as well.
	WriteOut() error
	SyncAll() error

	// Share returns the same file, opened once more.
	Share() (File, error)
	Close() error
}
