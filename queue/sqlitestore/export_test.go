package sqlitestore

import (
	"context"
	"database/sql/driver"
	"errors"
)

// Interpose puts something between the store's connections and their driver, and has all
// statements prepared anew.
func (s *Store) Interpose(ctx context.Context, wrap func(driver.Conn) driver.Conn) error {
	var errs []error
	anew := func(c *conn) {
		for _, st := range c.stmts {
			errs = append(errs, st.Close())
		}
		clear(c.stmts)
		c.raw = wrap(c.raw)
	}
	for range s.readers.count { // nobody has one then
		c, err := s.readers.take(ctx)
		if err != nil {
			return err
		}
		defer s.readers.put(c)
		anew(c)
	}
	err := s.write(ctx, &operation{name: "interpose", items: 1, outsideTx: func(w *writer) error {
		anew(w.c)
		return nil
	}})
	return errors.Join(append(errs, err)...)
}
