package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Assets gives the files of the built console, rooted where index.html is.
// When the console was not built before the binary was, index.html is missing
// and the server should say so.
func Assets() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil { // "dist" is a constant and valid: cannot happen
		panic(err)
	}
	return sub
}

// Built reports whether the console was built into this binary.
func Built() bool {
	_, err := fs.Stat(dist, "dist/index.html")
	return err == nil
}
