"""What makes thousands cheaper than one after the other: groups of files, and models that are alike.

Owns what `publish_many` shares between its items: files that a disk writes together, the journal of a
batch, and which models were tried already. Refuses to decide what is stored or declared: `publisher` does.
"""
