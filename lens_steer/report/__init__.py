"""From a folder of results to one page of verdicts, figures, tables and views; and the gallery of its figures."""

from lens_steer.report.gallery import gallery_page as gallery_page
from lens_steer.report.gallery import write_gallery as write_gallery
from lens_steer.report.page import report_page as report_page
from lens_steer.report.page import write_report as write_report
