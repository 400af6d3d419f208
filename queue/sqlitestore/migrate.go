package sqlitestore

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// ErrNewerSchema says that a newer program has written the file.
var ErrNewerSchema = errors.New("store was written by a newer version of this program")

// migrations returns the scripts in order; the n-th leads to schema version n.
func migrations() ([]string, error) {
	names, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		return nil, err
	}
	scripts := make([]string, len(names))
	for i, name := range names {
		b, err := schemaFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		scripts[i] = string(b)
	}
	return scripts, nil
}

// migrate brings the schema up to date, each step in its own transaction.
func migrate(c *conn) error {
	scripts, err := migrations()
	if err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	version, err := schemaVersion(c, len(scripts))
	if err != nil {
		return err
	}
	for n := version; n < len(scripts); n++ {
		if err := migrateTo(c, n+1, scripts[n]); err != nil {
			return fmt.Errorf("bringing the schema to version %d: %w", n+1, translate(err))
		}
	}
	return nil
}

func migrateTo(c *conn, version int, script string) error {
	if err := c.begin(true); err != nil {
		return err
	}
	err := c.script(script)
	if err == nil {
		err = c.script(fmt.Sprintf("PRAGMA user_version = %d", version))
	}
	if err == nil {
		err = c.commit()
	}
	if err != nil {
		c.rollback()
	}
	return err
}

// schemaVersion reads the file's version and refuses one above newest.
func schemaVersion(c *conn, newest int) (int, error) {
	n, _, err := c.number("PRAGMA user_version")
	if err != nil {
		return 0, fmt.Errorf("reading the schema version: %w", translate(err))
	}
	if n > int64(newest) {
		return 0, fmt.Errorf("%w: schema %d, known up to %d", ErrNewerSchema, n, newest)
	}
	return int(n), nil
}
