"""Texts as people, and those who hide something, write them."""

from hypothesis import strategies as st

INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202a\u202e\u2066\u2069\u3164\u115f\x00\x08"
MARKS = "\u0301\u0300\u0336\u0338\u20dd\u20e0\ufe0f\ufe00\U000e0100"
FORMS = "\U0001f600\U0001f468\u05d0\u0627ＡａＺ１２٣²½…，！ﷺİßΣςｱﾞか\u3099\u1100\u1161\u0e33"
LANDMARKS = INVISIBLE + MARKS + FORMS + "\ud800\udfff \r\t\n\u3000\u2028"

# Every code point there is, and often one of those that have caused trouble. Pieces are joined, since in one alphabet the few drown.
any_text = st.lists(
    st.text(st.characters(exclude_categories=()), max_size=4) | st.text(LANDMARKS, max_size=4) | st.text("赌博彩票abc好123，", max_size=4),
    max_size=10,
).map("".join)
