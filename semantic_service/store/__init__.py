"""The review store: judged posts for people to look at, what moderators say of them, and annotators' answers."""
