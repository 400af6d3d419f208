package api

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"trackchat/api/audit"
	"trackchat/api/navixy"
	"trackchat/queue"
)

// defaultColor is that of a group without one: the platform's groups all have one.
const defaultColor = "808080"

// group is the id of a tracker's group as it is told, 0 none: also where the group is gone.
func (c *call) group(t *queue.Tracker) int64 {
	if c.groups == nil {
		c.groups = make(map[int64]bool)
		for _, g := range c.account.AllGroups() {
			c.groups[g.ID] = true
		}
	}
	if id := t.GroupID(); c.groups[id] {
		return id
	}
	return 0
}

// groupList answers tracker/group/list.
func (a *API) groupList(_ context.Context, c *call) error {
	if err := c.read.Done(); err != nil {
		return err
	}
	list := slices.Clone(given(c.account.AllGroups()))
	for i := range list {
		if list[i].Color == "" {
			list[i].Color = defaultColor
		}
	}
	return c.answer("list", list)
}

func readGroup(r *navixy.Reader, g *queue.Group) {
	r.TextInto("title", &g.Title)
	r.TextInto("color", &g.Color)
	g.Check(r.Fail)
}

func (a *API) groupCreate(ctx context.Context, c *call) error {
	c.read.Only("title", "color")
	var g queue.Group
	readGroup(c.read, &g)
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editPeople(ctx, c, func(p *queue.People) error {
		g.ID = p.NextID()
		return add(&p.Groups, queue.MaxGroups, g)
	})
	if err != nil {
		return err
	}
	return c.created("group", g.ID)
}

func (a *API) groupUpdate(ctx context.Context, c *call) error {
	c.read.Only("group_id", "title", "color")
	id := c.read.ID("group_id")
	c.about("group", strconv.FormatInt(id, 10))
	readGroup(c.read, &queue.Group{Title: "-"})
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editPeople(ctx, c, func(p *queue.People) error {
		return change(p.Groups, id, groupID, func(g *queue.Group) { readGroup(c.read, g) })
	})
	if err != nil {
		return err
	}
	return c.succeed()
}

// groupDelete leaves the number with the trackers: no group has it any more, nor ever will.
func (a *API) groupDelete(ctx context.Context, c *call) error {
	c.read.Only("group_id")
	id := c.read.ID("group_id")
	c.about("group", strconv.FormatInt(id, 10))
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editPeople(ctx, c, func(p *queue.People) error {
		return remove(&p.Groups, id, groupID)
	})
	if err != nil {
		return err
	}
	return c.succeed()
}

// sortTrackers sorts the trackers of a request.
func (a *API) sortTrackers(ctx context.Context, c *call, sort func(*queue.Sorting)) error {
	ids := c.read.RequiredIDs("trackers", maxTrackers)
	if err := c.read.Done(); err != nil {
		return err
	}
	if len(ids) > maxTrackers {
		return navixy.Refuse(navixy.CodeDeviceLimit)
	}
	text, _ := json.Marshal(ids) // of numbers
	c.trail.Detail = audit.Text("trackers " + string(text))
	edits := make([]queue.Edit, len(ids))
	for i, id := range ids {
		if _, ok := c.tracker(queue.TrackerID(id)); !ok {
			return navixy.Refuse(navixy.CodeNonexistent)
		}
		edits[i] = queue.Edit{
			Kind: queue.EditChangeTracker, Tracker: queue.Tracker{ID: queue.TrackerID(id)},
			ChangeTracker: func(t *queue.Tracker) error {
				if t.Account != c.account.ID { // it has moved meanwhile
					return queue.ErrNotFound
				}
				s := queue.Sorting{Group: t.GroupID(), Tags: t.Tags()}
				sort(&s)
				t.Sorting = &s
				return nil
			},
		}
	}
	if err := a.edit(ctx, edits...); err != nil {
		return err
	}
	return c.succeed()
}

// groupAssign puts trackers into a group, or with 0 into none.
func (a *API) groupAssign(ctx context.Context, c *call) error {
	c.read.Only("group_id", "trackers")
	id := c.read.ID("group_id")
	c.about("group", strconv.FormatInt(id, 10))
	if id != 0 && c.read.Done() == nil && !c.account.HasGroup(id) {
		return navixy.Refuse(navixy.CodeNotFound)
	}
	return a.sortTrackers(ctx, c, func(s *queue.Sorting) { s.Group = id })
}

// tagAssign gives trackers the tags, which replace those that they have.
func (a *API) tagAssign(ctx context.Context, c *call) error {
	c.read.Only("tags", "trackers")
	if !c.read.Params.Given("tags") {
		c.read.Fail("tags", navixy.ProblemNull)
	}
	tags := c.read.Strings("tags")
	c.trail.Object = "tags"
	queue.CheckTags(tags, c.read.Fail)
	return a.sortTrackers(ctx, c, func(s *queue.Sorting) { s.Tags = tags })
}

// templateList answers account/template/list.
func (a *API) templateList(_ context.Context, c *call) error {
	c.read.Only()
	if err := c.read.Done(); err != nil {
		return err
	}
	return c.answer("list", given(c.account.AllTemplates()))
}

func readTemplate(r *navixy.Reader, t *queue.Template) {
	r.TextInto("name", &t.Name)
	r.TextInto("text", &t.Text)
	if r.Params.Given("choices") {
		t.Choices = r.Strings("choices")
	}
	if r.Params.Given("ttl") {
		t.TTL = r.Within("ttl", 0, 0, queue.MaxTTL)
	}
	t.Check(r.Fail)
}

func (a *API) templateCreate(ctx context.Context, c *call) error {
	c.read.Only("name", "text", "choices", "ttl")
	var t queue.Template
	readTemplate(c.read, &t)
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editPeople(ctx, c, func(p *queue.People) error {
		t.ID = p.NextID()
		return add(&p.Templates, queue.MaxTemplates, t)
	})
	if err != nil {
		return err
	}
	return c.created("template", t.ID)
}

func (a *API) templateUpdate(ctx context.Context, c *call) error {
	c.read.Only("template_id", "name", "text", "choices", "ttl")
	id := c.read.ID("template_id")
	c.about("template", strconv.FormatInt(id, 10))
	readTemplate(c.read, &queue.Template{Name: "-", Text: "-"})
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editPeople(ctx, c, func(p *queue.People) error {
		return change(p.Templates, id, templateID,
			func(t *queue.Template) { readTemplate(c.read, t) })
	})
	if err != nil {
		return err
	}
	return c.succeed()
}

func (a *API) templateDelete(ctx context.Context, c *call) error {
	c.read.Only("template_id")
	id := c.read.ID("template_id")
	c.about("template", strconv.FormatInt(id, 10))
	if err := c.read.Done(); err != nil {
		return err
	}
	err := a.editPeople(ctx, c, func(p *queue.People) error {
		return remove(&p.Templates, id, templateID)
	})
	if err != nil {
		return err
	}
	return c.succeed()
}
