/** Whom a broadcast is for: trackers that are picked one by one, groups, tags, or everybody. */
export class Recipients {
  constructor({ trackers = [], groups = [], tags = [], all = false } = {}) {
    this.trackers = new Set(trackers);
    this.groups = new Set(groups);
    this.tags = new Set(tags);
    this.all = all;
  }

  /** The ids of those of them that a State knows, and of those that are picked. */
  of(state) {
    const ids = new Set(this.trackers);
    for (const x of state.trackers.values()) if (this.#take(x)) ids.add(x.id);
    return [...ids];
  }

  #take({ group, tags }) {
    return this.all || this.groups.has(group) || tags.some((tag) => this.tags.has(tag));
  }

  /** What the constructor takes: parameters of the API. What is empty is left out. */
  get record() {
    const { trackers, groups, tags, all } = this;
    return {
      ...(trackers.size > 0 && { trackers: [...trackers] }),
      ...(groups.size > 0 && { groups: [...groups] }),
      ...(tags.size > 0 && { tags: [...tags] }),
      ...(all && { all }),
    };
  }
}
