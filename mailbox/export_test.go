package mailbox

// OpenFS opens the part of the real file system below the folder dir, for the tests
// of an FS.
func OpenFS(dir string, m Modes) (FS, error) { return newKernel(m, nil).open(dir) }
