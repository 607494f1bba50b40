"""All families of importers; importing them fills the table."""

from __future__ import annotations

from . import activation as activation
from . import attention as attention
from . import constant as constant
from . import control as control
from . import conv as conv
from . import einsum as einsum
from . import elementwise as elementwise
from . import index as index
from . import matmul as matmul
from . import microsoft as microsoft
from . import microsoft_attention as microsoft_attention
from . import microsoft_codes as microsoft_codes
from . import microsoft_quant as microsoft_quant
from . import norm as norm
from . import patch as patch
from . import pool as pool
from . import quant as quant
from . import reduce as reduce
from . import resample as resample
from . import rnn as rnn
from . import select as select
from . import sequence as sequence
from . import shape as shape
from . import signal as signal
from . import slice as slice
