// Package console holds the pages that trackchat serves: the dispatchers' console on the API's
// listener and the operations view on the admin listener. They are plain files (HTML, CSS, ES
// modules, message files), embedded as they are written: there is no build step. Pages speak only
// HTTP to the listener that they came from.
package console

import (
	"embed"
	"io/fs"
	"path"
	"strings"
)

//go:embed web ops shared
var files embed.FS

// page is the file that a site's root shows.
const page = "index.html"

// NewChat returns the dispatchers' console: the page is at / and at /console/, its files are below
// /console/. All it asks for is the public API.
func NewChat() *Site { return newSite("/console/", "web", "no-cache") }

// NewOperations returns the operators' view: the page is at / and at /ui/, its files are below
// /ui/. It reads /metrics and /admin/.
func NewOperations() *Site { return newSite("/ui/", "ops", "no-store") }

// newSite takes the files of dir, and the shared ones, as what is below prefix; cache says who may
// keep them, as Cache-Control does. Browsers ask every time: a page of one version never meets
// files of another for longer than a load.
func newSite(prefix, dir, cache string) *Site {
	s := &Site{prefix: prefix, cache: cache, files: map[string]*file{}}
	for _, root := range [...]string{dir, "shared"} {
		err := fs.WalkDir(files, root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			body, err := files.ReadFile(name)
			if err != nil {
				return err
			}
			if root == dir {
				name = strings.TrimPrefix(name, dir+"/")
			}
			s.files[name] = newFile(path.Ext(name), body)
			return nil
		})
		if err != nil {
			// they are part of the program.
			panic("console: embedded files cannot be read: " + err.Error())
		}
	}
	return s
}
