package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// version says on one line what is running: the module's version, the revision it was built from as
// far as the build knew it, and the Go version.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	return describeBuild(info) + "\n"
}

func describeBuild(info *debug.BuildInfo) string {
	values := make(map[string]string, len(info.Settings))
	for _, s := range info.Settings {
		values[s.Key] = s.Value
	}
	var source []string
	if revision := values["vcs.revision"]; revision != "" {
		source = append(source, "revision "+revision)
	}
	if at := values["vcs.time"]; at != "" {
		source = append(source, at)
	}
	if values["vcs.modified"] == "true" {
		source = append(source, "modified")
	}
	line := "trackchat " + cmp.Or(info.Main.Version, "(unknown version)")
	if len(source) > 0 {
		line += " (" + strings.Join(source, ", ") + ")"
	}
	return fmt.Sprintf("%s %s %s/%s", line, cmp.Or(info.GoVersion, runtime.Version()), runtime.GOOS,
		runtime.GOARCH)
}
