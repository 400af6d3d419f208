package queuetest

import (
	"errors"
	"slices"

	"trackchat/queue"
)

func editPeople(c *check) {
	c.fill()
	accounts, trackers := someAccounts(), someTrackers()
	account, tracker := accounts[1], trackers[0]
	account.Title, account.People = "renamed", nil
	tracker.Label, tracker.Sorting = "renamed", nil
	c.wantEdits(queue.EditUpdated, putAccount(account), putTracker(tracker))
	accounts[1].Title, trackers[0].Label = "renamed", "renamed"
	c.wantDirectory(accounts, trackers)

	// One list is given, and empty: the others stay, and no id comes again.
	account.People = &queue.People{Users: []queue.User{}}
	c.wantEdits(queue.EditUpdated, putAccount(account))
	people := *accounts[1].People
	people.Users = nil
	accounts[1].People = &people
	c.wantDirectory(accounts, trackers)

	account.People, account.Keys, account.Title = nil, nil, "imported"
	tracker.Label = "imported"
	c.importAll([]queue.Account{account}, []queue.Tracker{tracker}, false,
		queue.ImportStats{Updated: 2})
	accounts[1].Title, trackers[0].Label = "imported", "imported"
	c.wantDirectory(accounts, trackers)
	account.Keys = []queue.Key{}
	c.importAll([]queue.Account{account}, nil, false, queue.ImportStats{Updated: 1})
	accounts[1].Keys = nil
	c.wantDirectory(accounts, trackers)

	// A group that its account never had, and one that it has no more, which is none.
	tracker.Sorting = &queue.Sorting{Group: 10}
	c.wantGroupRefused(putTracker(tracker))
	account.People = &queue.People{Groups: []queue.Group{}}
	c.wantEdits(queue.EditUpdated, putAccount(account))
	people = *accounts[1].People
	people.Groups = nil
	accounts[1].People = &people
	tracker.Sorting, tracker.Label = &queue.Sorting{Group: 2, Tags: []string{"a"}}, "sorted"
	c.wantEdits(queue.EditUpdated, putTracker(tracker))
	trackers[0].Sorting, trackers[0].Label = &queue.Sorting{Tags: []string{"a"}}, tracker.Label
	c.wantDirectory(accounts, trackers)
	tracker.Account, tracker.History = 3, queue.HistoryMove
	c.wantGroupRefused(putTracker(tracker))
	tracker.Sorting = nil

	// Users who keep their password.
	users := func(password string) *queue.People {
		return &queue.People{Users: []queue.User{
			{ID: 1, Login: "ann", Name: "Ann"},
			{ID: 8, Login: "new", Name: "New", Password: password},
		}}
	}
	account.People = users("x")
	c.wantEdits(queue.EditUpdated, putAccount(account))
	account.People = users("y")
	keep := putAccount(account)
	keep.KeepUsers = []int64{1, 8, 9}
	c.wantEdits(queue.EditUnchanged, keep)
	people.Users = users("x").Users
	c.wantDirectory(accounts, trackers)

	// Another account sorts it anew.
	tracker.Account, tracker.History = 3, queue.HistoryMove
	c.wantEdits(queue.EditUpdated, putTracker(tracker))
	trackers[0].Account, trackers[0].Sorting = 3, nil
	c.wantDirectory(accounts, trackers)
	tracker.Sorting = &queue.Sorting{Tags: []string{"x"}}
	c.wantEdits(queue.EditUpdated, putTracker(tracker))
	tracker.Sorting = &queue.Sorting{}
	c.wantEdits(queue.EditUpdated, putTracker(tracker))
	c.reopen()
	c.wantDirectory(accounts, trackers)
}

func (c *check) wantGroupRefused(e queue.Edit) {
	c.Helper()
	res := c.edit(e)
	var conflict *queue.ConflictError
	if !errors.As(res[0].Err, &conflict) || conflict.Parameter != "group_id" {
		c.Fatalf("%+v", res[0])
	}
}

func editUsers(c *check) {
	c.fill()
	user := func(login string) *queue.People {
		return &queue.People{Users: []queue.User{{ID: 1, Login: login, Name: login}}}
	}
	for _, login := range []string{"first", "ann"} { // of an account, of its user
		res := c.edit(putAccount(queue.Account{ID: 3, People: user(login)}))
		var conflict *queue.ConflictError
		if !errors.As(res[0].Err, &conflict) || conflict.Parameter != "login" {
			c.Fatalf("%s: %+v", login, res[0])
		}
		_, err := c.Store.ImportDirectory(c.Context(),
			[]queue.Account{{ID: 3, People: user(login)}}, nil, false)
		if !errors.Is(err, queue.ErrConflict) {
			c.Fatalf("import of %s: %v", login, err)
		}
	}
	res := c.edit(
		putAccount(queue.Account{ID: 3, Login: "ann"}),
		putAccount(queue.Account{ID: 3, Login: "me", People: user("me")}),
		dropAccount(3), // which has changed nothing so far
		changeAccount(1, func(a *queue.Account) error {
			a.People = &queue.People{Users: []queue.User{}}
			return nil
		}),
		putAccount(queue.Account{ID: 4, People: user("ann")}),
	)
	for i, refused := range []bool{true, true, false, false, false} {
		if errors.Is(res[i].Err, queue.ErrConflict) != refused {
			c.Fatalf("edit %d: %+v", i, res[i])
		}
	}
}

func editChanges(c *check) {
	c.fill()
	add := func(group string) queue.Edit {
		return changeAccount(3, func(a *queue.Account) error {
			a.People = a.People.Clone()
			a.People.Groups = append(a.People.Groups,
				queue.Group{ID: a.People.NextID(), Title: group})
			return nil
		})
	}
	tag := func(id queue.TrackerID, group int64, err error) queue.Edit {
		return queue.Edit{
			Kind: queue.EditChangeTracker, Tracker: queue.Tracker{ID: id},
			ChangeTracker: func(t *queue.Tracker) error {
				t.Sorting = &queue.Sorting{Group: group, Tags: append(slices.Clone(t.Tags()), "x")}
				return err
			},
		}
	}
	c.wantEdits(queue.EditUpdated, add("a"), add("b"), tag(10, 2, nil), tag(10, 2, nil))
	c.wantGroupRefused(tag(30, 2, nil))
	res := c.edit(tag(10, 2, queue.ErrTooMany), tag(99, 0, nil), tag(30, 0, nil),
		changeAccount(2, func(*queue.Account) error { return queue.ErrTooMany }))
	for i, want := range []error{queue.ErrTooMany, queue.ErrNotFound, nil, queue.ErrTooMany} {
		if !errors.Is(res[i].Err, want) {
			c.Fatalf("edit %d: %+v", i, res[i])
		}
	}
	accounts, trackers := someAccounts(), someTrackers()
	accounts[2].People = &queue.People{
		LastID: 2, Groups: []queue.Group{{ID: 1, Title: "a"}, {ID: 2, Title: "b"}},
	}
	trackers[1].Sorting = &queue.Sorting{Group: 2, Tags: []string{"x", "x"}}
	trackers[2].Sorting = &queue.Sorting{Tags: []string{"x"}}
	c.wantDirectory(accounts, trackers)
}
