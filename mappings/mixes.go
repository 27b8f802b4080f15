package mappings

// Mixes names captures (or wildcards) of the pattern that the destination does not tell apart: topics that differ only
// there would end in one field, feed or topic.
func (u *Uplink) Mixes() []string {
	if u.Each != nil {
		return u.mixesOfEach()
	}
	if u.Target == nil || u.Target.Name == nil {
		return nil
	}
	return u.mixesOf(u.Target, "")
}

// mixesOf looks at one target; the capture selected already tells by which target a message goes.
func (u *Uplink) mixesOf(t *Target, selected string) []string {
	if t.Name.usesTopic() {
		return nil
	}
	var mixed []string
	next := 0
	for _, l := range u.Local.levels {
		switch l.kind {
		case plusLevel, hashLevel:
			mixed = append(mixed, l.source)
		case partsLevel, multiLevel:
			for range len(l.texts) - 1 {
				name := u.Local.names[next]
				next++
				if name == selected || t.Name.Uses(name) || u.Cloud != nil && u.Cloud.Uses(name) {
					continue
				}
				mixed = append(mixed, "{"+name+"}")
			}
		}
	}
	return mixed
}

// mixesOfEach also finds targets of one rule that are the same place.
func (u *Uplink) mixesOfEach() []string {
	var mixed []string
	add := func(name string) {
		for _, m := range mixed {
			if m == name {
				return
			}
		}
		mixed = append(mixed, name)
	}
	places := map[Address]bool{}
	for _, t := range u.Each.Targets {
		for _, name := range u.mixesOf(t, u.Each.Capture) {
			add(name)
		}
		if t.Name.Uses(u.Each.Capture) || u.Cloud != nil && u.Cloud.Uses(u.Each.Capture) {
			continue
		}
		for _, p := range t.Parts {
			if p.Optional {
				continue
			}
			place := Address{t.Name.String(), p.Name}
			if places[place] {
				add("{" + u.Each.Capture + "}")
			}
			places[place] = true
		}
	}
	return mixed
}
