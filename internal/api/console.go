package api

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// consoleHandler serves the files of the console. A path that is no file gets
// index.html, where the console's own router reads it.
func consoleHandler(files fs.FS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
		if strings.HasPrefix(name, "api/") || name == "api" {
			writeProblem(w, problem(http.StatusNotFound, "there is no such call", "GET /api/v1/openapi.json lists them all."))
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeProblem(w, problem(http.StatusMethodNotAllowed, "only GET is possible here", "The API is under /api/v1."))
			return
		}
		if name == "" || !serveFile(w, r, files, name) {
			if path.Ext(name) != "" && name != "" { // a missing asset, not a page
				writeProblem(w, problem(http.StatusNotFound, "there is no such file", "Reload the page: the console may have been updated."))
				return
			}
			if !serveFile(w, r, files, "index.html") {
				writeProblem(w, problem(http.StatusNotFound, "the console was not built into this binary", "Build it with `make web`, then build doorward again. The API and the command line work without it."))
			}
		}
	})
}

func serveFile(w http.ResponseWriter, r *http.Request, files fs.FS, name string) bool {
	if files == nil || !fs.ValidPath(name) {
		return false
	}
	f, err := files.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.IsDir() {
		return false
	}
	body, ok := f.(io.ReadSeeker)
	if !ok {
		all, err := io.ReadAll(io.LimitReader(f, 32<<20))
		if err != nil {
			return false
		}
		body = bytes.NewReader(all)
	}
	if strings.HasPrefix(name, "assets/") { // their names carry a hash of their content
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	http.ServeContent(w, r, path.Base(name), time.Time{}, body)
	return true
}
