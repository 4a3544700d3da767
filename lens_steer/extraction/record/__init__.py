"""Streaming of activations: yields the requested sites and positions for each batch of sequences."""

from lens_steer.extraction.record.read import ReadSpec as ReadSpec
from lens_steer.extraction.record.read import Recording as Recording
from lens_steer.extraction.record.read import locate as locate
from lens_steer.extraction.record.read import read_batch as read_batch
from lens_steer.extraction.record.read import read_pass as read_pass
from lens_steer.extraction.record.rows import RowBatch as RowBatch
from lens_steer.extraction.record.rows import TokenRows as TokenRows
from lens_steer.extraction.record.rows import plan_pairs as plan_pairs
from lens_steer.extraction.record.rows import plan_rows as plan_rows
from lens_steer.extraction.record.rows import token_rows as token_rows
from lens_steer.extraction.record.rows import tokenize_in_parts as tokenize_in_parts
from lens_steer.extraction.record.stream import record as record
