package main

import "strings"

// closeness compares a topic with a pattern that does not match it, level by level; a higher number is closer, zero is not
// close at all. Mappings says why they differ; this only finds the rule that was most likely meant.
func closeness(topic, pattern string) int {
	t, p := strings.Split(topic, "/"), strings.Split(pattern, "/")
	// A slash too many or too few shifts every level, and is the most frequent slip.
	if (t[0] == "") != (p[0] == "") && len(t) > 1 && len(p) > 1 {
		return 1 + agreement(trimFirst(t), trimFirst(p))
	}
	return agreement(t, p)
}

func trimFirst(levels []string) []string {
	if levels[0] == "" {
		return levels[1:]
	}
	return levels
}

// agreement counts levels that agree: text that is equal counts more than a wildcard that takes anything.
func agreement(t, p []string) int {
	score := 0
	for i := range min(len(t), len(p)) {
		switch {
		case takesRest(p[i]):
			return score + 1
		case t[i] == p[i]:
			score += 4
		case strings.EqualFold(t[i], p[i]):
			score += 3
		case takesOne(p[i]):
			score += 2
		}
	}
	if len(t) == len(p) && score > 0 {
		score++
	}
	return score
}

func takesRest(level string) bool {
	return level == "#" || strings.HasPrefix(level, "{") && strings.HasSuffix(level, "...}")
}

func takesOne(level string) bool {
	return level == "+" || strings.HasPrefix(level, "{") && strings.HasSuffix(level, "}") && strings.Count(level, "{") == 1
}
